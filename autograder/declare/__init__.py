"""All that a chapter imports to declare its exercises and claims."""
