// gives the theme's unnamed controls and its side bar a name for screen readers
const side = document.querySelector(".bd-sidebar-primary");
side?.setAttribute("role", "complementary");
side?.setAttribute("aria-label", "The book");
document.querySelectorAll(".bd-sidebar-primary summary").forEach((toggle) => {
  const chapter = toggle.closest("li")?.querySelector("a")?.textContent.trim() ?? "";
  toggle.setAttribute("aria-label", `Pages of ${chapter}`);
});
for (const said of [".search-button-field[aria-label]", "summary[aria-label='Toggle hidden content']"])
  document.querySelectorAll(said).forEach((node) => node.removeAttribute("aria-label")); // their text says more
document.querySelectorAll(".citation-list[role]").forEach((list) => list.removeAttribute("role"));
document.querySelectorAll(".citation[role]").forEach((entry) => entry.removeAttribute("role"));
// a wide table of words stacks on a phone: each cell then says what its column is
document.querySelectorAll(".bd-article table:not(.methods)").forEach((table) => {
  const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
  const words = [...table.querySelectorAll("tbody td")].some((cell) => cell.textContent.trim().length > 40);
  if (heads.length < 3 || !words) return;
  table.classList.add("stacks");
  table.querySelectorAll("tbody tr").forEach((row) => [...row.cells].forEach((cell, place) => { cell.dataset.head = heads[place] ?? ""; }));
});
// what scrolls sideways by itself can be reached by key
const MAY_SCROLL = ".bd-article :is(table:not(.methods), figure, .math-block, .cell_output, .output, .quick-option > span, .quick-given li > span)";
const reachable = (box) => {
  if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
};
const boxes = [...document.querySelectorAll(MAY_SCROLL)];
const all = () => boxes.forEach(reachable);
const watch = new ResizeObserver((seen) => seen.forEach(({ target }) => reachable(target)));
boxes.forEach((box) => watch.observe(box)); // also what unfolds later
all();
addEventListener("load", all);
addEventListener("resize", all);
