"""Chapter 28, notebook 2: the written question."""

from autograder.declare.exercise import Question

EVIDENCE = Question(
    name="is_it_gone",
    points=4,
    text="""A company shows you a model "from which the protected logo was erased". Its evidence: 20 pictures for the
prompt "the logo", none of which shows it.

1. What share of pictures could still show the logo, at 95 % confidence? Give the number.
2. Name **two** other measurements that you would ask for, and for each say which failure it would reveal that the
   company's test cannot.
3. The company answers: "All three are perfect, and our picture quality is unchanged." Does it follow that the logo is
   no longer **in the weights**? Argue from an experiment of this chapter.

(About 120 words.)""",
    rubric="""One point for 1; one for each measurement in 2, half of it for the failure; one for 3.
* **1**: Wilson's interval for 0 of 20 is [0, 0.16]: up to about one picture in six. "About 3 / 20" by the rule of three
  is right as well. "0 %" earns nothing.
* **2**: paraphrases (a word was unlinked, the concept is there under other names); learned or adversarial prompts (the
  same, without a word); locality on other concepts (the model may have been damaged until it paints no logo and
  nothing else); pictures by a second judge (the judge may be fooled by a slightly changed logo).
* **3**: No. UCE and Ablating change what words are mapped to, and learned vectors need no words; erasers can be
  switched off in one line; a few steps of fine-tuning may restore it. Measured absence under the attacks that were
  tried is no proof about attacks that were not.""",
    samples=(
        (
            4.0,
            "1: Wilson gives 0 to 16 % for 0 of 20. 2: Synonyms: they show whether only the word was unlinked. And "
            "accuracy on other prompts with the same seeds: a model that paints grey passes the company's test. 3: No. "
            "In this chapter the erased models painted no ring for the word, but vectors that were learned against "
            "them did bring rings back in some of the models, so the weights could still make one. The tests only "
            "speak about the attacks that were tried.",
        ),
        (
            2.0,
            "1: At most about 15 %. 2: I would test synonyms, because people use other words. I would also test more "
            "pictures. 3: Probably yes if the attacks fail, too.",
        ),
        (0.5, "None of 20 shows it, so it is gone at 95 %. I would ask for more pictures. The weights are changed."),
    ),
)
