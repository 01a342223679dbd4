// the map of methods: narrows its table to what is asked for; without this script the whole table stands there
(() => {
  const map = document.getElementById("methods-map");
  if (!map) return;
  const form = map.querySelector("form");
  const count = map.querySelector("output");
  const groups = [...map.querySelectorAll("tbody")];
  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  const rows = groups.map((group) =>
    [...group.querySelectorAll("tr[data-status]")].map((row) => ({ row, text: plain(row.textContent) })));
  const total = rows.flat().length;

  const show = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = plain(asked.text || "").split(/\s+/).filter(Boolean);
    let shown = 0;
    groups.forEach((group, g) => {
      let some = false;
      for (const { row, text } of rows[g]) {
        const fits = words.every((word) => text.includes(word))
          && (!asked.lecture || row.dataset.lecture.split(" ").includes(asked.lecture))
          && (!asked.part || group.dataset.part === asked.part)
          && (!asked.status || row.dataset.status === asked.status)
          && (!asked.kind || row.dataset.kind === asked.kind);
        row.hidden = !fits;
        if (fits) { some = true; shown += 1; }
      }
      group.hidden = !some;
    });
    count.textContent = shown === total ? `All ${total} methods.` : shown ? `${shown} of ${total} methods.` : "No method fits. Take a filter away.";
    const kept = new URLSearchParams(Object.entries(asked).filter(([, value]) => value)).toString();
    try { history.replaceState(null, "", kept ? "?" + kept : location.pathname + location.hash); } catch { /* a page opened as a file keeps no address */ }
  };

  for (const [name, value] of new URLSearchParams(location.search)) if (form.elements[name]) form.elements[name].value = value;
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
