"""Why an answer is wrong, in one sentence that is true of the evidence."""
