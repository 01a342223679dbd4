// sets the formulas of a page with the local copy of KaTeX; a formula it cannot read stays as its source text
document.querySelectorAll(".math").forEach((node) => {
  const block = node.classList.contains("math-block");
  const target = block ? node.querySelector(".tex") : node;
  katex.render(target.textContent, target, { displayMode: block, throwOnError: false, output: "htmlAndMathml" });
});
