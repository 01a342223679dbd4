// predictions and quick questions: answered on the page and remembered in this browser alone; nothing is sent anywhere
(() => {
  const memory = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing still answers */ } },
  };

  const remember = (box, key, answer) => {
    const choices = [...box.querySelectorAll("input[type=radio]")];
    const kept = choices.find((choice) => choice.value === memory.get(key));
    if (kept) { kept.checked = true; answer(kept); }
    box.addEventListener("change", (event) => {
      if (!choices.includes(event.target)) return;
      memory.set(key, event.target.value);
      answer(event.target);
    });
  };

  document.querySelectorAll(".dlcv-predict").forEach((box) => {
    const said = box.querySelector("p:last-of-type");
    said.setAttribute("role", "status");
    const name = box.querySelector("input")?.name;
    remember(box, `dlcv:predict:${name}`, (choice) => {
      said.textContent = `Noted: ${choice.parentNode.textContent.trim().replace(/^\d+: /, "")}. Now read on.`;
    });
  });

  document.querySelectorAll(".quick-question").forEach((box) => {
    const said = box.querySelector(".quick-said");
    const answers = [...box.querySelectorAll("details li")];
    remember(box, `dlcv:quick:${box.dataset.key}`, (choice) => {
      const right = choice.value === box.dataset.answer;
      said.className = `quick-said ${right ? "is-right" : "is-wrong"}`;
      said.innerHTML = `<b>${right ? "✓ Yes." : "✗ Not this one."}</b> ${answers[+choice.value].querySelector("span").innerHTML}`;
    });
  });
})();
