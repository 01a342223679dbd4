"""Chapter 23, notebook 2: the exercises around VeRA, DoRA and 4-bit weights, in the order of the lesson."""

from autograder.exercise import Question
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_counts import VECTORS
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_dora import DORA
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_double import DOUBLE
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_dvora import DVORA
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_nf4 import NF4
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_qlora import QLORA
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_vera import VERA

EXERCISES = [VERA, VECTORS, DORA, DVORA, NF4, DOUBLE, QLORA]

INCONSISTENT = Question(
    name="inconsistent_rows",
    points=4,
    text="""A colleague quotes four rows of the lecture's tables in a slide:

1. GPT-2 Medium, full fine-tuning: **354.92M** trainable parameters;
2. GPT-2 Medium, LoRA with rank 4 on query and value: **0.35M**;
3. RoBERTa-large, LoRA-FA: **3.7M**;
4. "VeRA: better than LoRA with 100x less parameters" (LLaMA, rank 1024 against rank 64).

For **each** row say whether the number follows from the model and the method, and **how you know**: name the formula or
the count of this chapter. Where it does not follow, say what number does, or what is missing. For row 4 judge the
factor and the word "better" separately. (About 120 words.)""",
    rubric="""One point each; half a point for a right verdict without formula or count.
* **1 does not follow**: the model on the meta device has 354 823 168 = 354.82M with the tied head counted once
  (GPT-2 Large agrees with its row). "Typing slip" is a fine guess, not needed.
* **2 does not follow**: 24 blocks x 2 matrices x 4 x (1024 + 1024) = 393 216 = 0.39M; 0.35M is 0.1 % of the model.
  DyLoRA's 0.39M in the same table uses the same formula.
* **3 cannot be derived**: the slide names neither layers nor rank. All six linear layers of a block with rank 16 would
  give 24 x 9216 x 16 = 3 538 944 = 3.5M. Full point for "rank and layers are missing", with or without that number.
* **4 the factor holds**: 159 907 840 / 1 589 248 = 100.6 for 7B (103.6 for 13B). "Better" holds for one row only:
  scores 5.19 / 5.08 for LLaMA2-7B, 5.77 / 5.93 for LLaMA2-13B; in the other two rows the slide has lost VeRA's score.
  Half a point for each of factor and word.""",
    samples=(
        (
            4.0,
            "1: No. Counting the model on the meta device with the tied head once gives 354,823,168, so 354.82M. "
            "2: No: "
            "24 * 2 * 4 * (1024 + 1024) = 393,216, that is 0.39M; 0.35M looks like 0.1 % of the model. 3: It cannot be "
            "checked, because rank and layers are not given; r = 16 on all linear layers would give 3.54M, near "
            "but not "
            "3.7M. 4: 32 * 64 * (4 * 8192 + 3 * 15104) = 159.9M over 1.59M is 100.6, so the factor is right. Better is "
            "not: LLaMA2-7B has 5.08 against 5.19; only LLaMA2-13B is above LoRA.",
        ),
        (
            2.5,
            "1 is wrong, the count gives 354.82M. 2 is wrong, the formula L * 2 * r * 2d gives 0.39M. 3 I do not "
            "know, it "
            "is bigger than LoRA's 0.8M, which is odd since LoRA-FA trains only half. 4 is right, 159.9M / 1.6M = 100.",
        ),
        (
            0.5,
            "All four come from published papers, so they should be right; small differences are due to rounding. The "
            "factor 100 is right because 160 / 1.6 = 100.",
        ),
    ),
)
QUESTIONS: list[Question] = [INCONSISTENT]
