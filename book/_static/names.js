// gives the theme's unnamed controls a name for screen readers
document.querySelectorAll(".bd-sidebar-primary summary").forEach((toggle) => {
  const chapter = toggle.closest("li")?.querySelector("a")?.textContent.trim() ?? "";
  toggle.setAttribute("aria-label", `Pages of ${chapter}`);
});
for (const said of [".search-button-field[aria-label]", "summary[aria-label='Toggle hidden content']"])
  document.querySelectorAll(said).forEach((node) => node.removeAttribute("aria-label")); // their text says more
document.querySelectorAll(".citation-list[role]").forEach((list) => list.removeAttribute("role"));
document.querySelectorAll(".citation[role]").forEach((entry) => entry.removeAttribute("role"));
