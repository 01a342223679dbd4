"""Chapter 23, notebook 2: the written question."""

from autograder.declare import Question

INCONSISTENT = Question(
    name="inconsistent_rows",
    points=4,
    text="""A colleague has put four rows into a slide. None of them stands in this chapter's tables:

1. GPT-2 Medium (24 blocks of width d = 1024), only the last two blocks trained: **25.19M** parameters. (A block has
   12 d^2 weights in its linear layers, 9 d biases beside them, and two layer norms.)
2. DeBERTa XXL (48 blocks of width 1536), LoRA with **rank 8** on query and value: **4.7M**;
3. RoBERTa-large (24 blocks of width 1024), LoRA-FA: **3.7M**, no word on layers and rank;
4. LLaMA-13B (40 blocks; shapes (out, in): four (5120, 5120), two (13824, 5120), one (5120, 13824)), DoRA with rank 32
   on all seven: **125.2M**, "exactly half of LoRA with rank 64".

For **each** row say whether the number follows from the model and the method, and **how you know**: name the formula or
the count. Where it does not follow, say what number does, or what is missing. For row 3 show that query and value
alone cannot give it. For row 4 judge the number and the word "half" separately. (About 150 words.)""",
    rubric="""One point each; half a point for a right verdict without formula or count.
* **1 follows**: 2 (12 d^2 + 9 d + 4 d) = 2 (12 d^2 + 13 d) = 25 192 448.
* **2 does not follow**: 48 x 2 x 8 x (1536 + 1536) = 2 359 296 = 2.4M. Rank 16 gives the printed 4 718 592; half a
  point without the rank that fits.
* **3 cannot be derived**: only B is trained, 48 x 1024 = 49 152 numbers per rank on query and value, and 3.7M / 49 152
  is about 75.3, no whole rank. Layers and rank are missing. (All six linear layers with rank 16 would give 3.5M.)
* **4 the number does not follow**: LoRA with rank 32 is 40 x 32 x 97 792 = 125 173 760; DoRA adds one magnitude for
  each row, 40 x 53 248 = 2 129 920, so 127.3M. **"Half" is nearly right**: LoRA with rank 64 has 250 347 520, and
  127.3M is 50.9 % of it; the magnitudes do not shrink with the rank. Half a point for each.""",
    samples=(
        (
            4.0,
            "1: Yes. A block has 12 d^2 + 9 d + 4 d, two of them 25,192,448. 2: No. 48 * 2 * 8 * 3072 = 2,359,296; it "
            "is twice that, 4.72M, for rank 16. 3: Cannot be checked. LoRA-FA trains B alone, on query and value "
            "48 * 1024 = 49,152 numbers a rank; 3.7M would be rank 75.3, so other layers were adapted, and the slide "
            "does not say which. 4: No. One block has 4 * 10240 + 3 * 18944 = 97,792, so LoRA of rank 32 has "
            "125,173,760, and that is the number on the slide. DoRA has a magnitude for each row besides, 2,129,920: "
            "127.3M. Half is nearly right, 50.9 %, because the magnitudes are the same at every rank.",
        ),
        (
            2.5,
            "1 is right, 2 (12 d^2 + 13 d) is 25.19M. 2 is wrong, the formula gives 2.36M. 3 I do not know, the rank "
            "is missing. 4 is right about the half, since LoRA's count is proportional to the rank.",
        ),
        (
            0.5,
            "All four come from published papers, so they should be right; small differences are due to rounding. Half "
            "the rank gives half the parameters.",
        ),
    ),
)
