"""Chapter 16, notebook 1: the written question."""

from autograder.declare.exercise import Question

ZERO_SHOT = Question(
    name="is_it_zero_shot",
    points=4,
    text="""A paper trains a CLIP on 400 million pairs from the web and reports 76 % "zero-shot" accuracy on ImageNet.
A reviewer objects that the thousand classes of ImageNet were in the training captions.

1. In which sense is the result zero-shot, and in which is it not?
2. Which **two** experiments of this chapter (or changes of them) would tell how much of the 76 % needs captions that
   name the class? Say for each what is held out, what is compared, and which result would speak for the reviewer.

(About 120 words.)""",
    rubric="""* **1 (1 point)**: no ImageNet label and no ImageNet training image was used, and the classes were chosen
  after training (half a point); but names and pictures of the classes were on the web, so it is no test of unknown
  concepts (half a point).
* **2 (1.5 points each)**: the held-out set is named (half), the comparison is fair, e.g. equal size and steps (half),
  and the result that supports the reviewer is named (half). Good answers: remove captions that name some classes (or
  synonyms) and compare accuracy on these with the rest, or with a model trained on as many random captions; hold out
  combinations of colour and shape; relate the accuracy of a class to the number of captions that name it; exclusive
  splits with a frozen language model.
* Half a point off where synonyms of the held-out names stay in the captions and nobody notices.""",
    samples=(
        (
            4.0,
            "It is zero-shot with respect to the data set: no labelled ImageNet picture was seen and the class "
            "list came "
            "afterwards. It is not with respect to concepts: captions with 'goldfish' were there. (a) Choose 100 "
            "classes, "
            "drop every caption with their names or synonyms, train again; control: drop as many random "
            "captions. If the "
            "100 classes fall and the others do not, the reviewer is right. (b) Count captions per class name "
            "and look at "
            "the rank correlation with accuracy per class, within one data set; a strong one speaks for the "
            "reviewer.",
        ),
        (
            2.0,
            "It is zero-shot because it was not trained on ImageNet. One could remove all captions that contain "
            "a class "
            "name and train again and look whether accuracy falls. One could also test on other data sets.",
        ),
        (
            0.5,
            "It is not zero-shot because it has seen 400 million pictures. One should train with fewer pictures "
            "and see "
            "whether it still reaches 76 %.",
        ),
    ),
)
