// predictions and quick questions: answered on the page and remembered in this browser alone; nothing is sent anywhere
(() => {
  const memory = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing still answers */ } },
    drop(key) { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } },
  };
  const SHOWN = "shown"; // the reader asked for the result without a choice
  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // what came lies covered between a prediction and its answer, until a choice is made or "show me" is pressed
  const outputs = [...document.querySelectorAll(".bd-article .cell_output")];
  const after = (one, other) => one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;

  class Prediction {
    constructor(box) {
      this.box = box;
      this.key = `dlcv:predict:${box.dataset.name}`;
      this.answer = document.querySelector(`.dlcv-reveal[data-name="${box.dataset.name}"]`);
      this.said = box.querySelector("p:last-of-type");
      this.said.setAttribute("role", "status");
      const own = box.closest(".cell_output"), last = this.answer?.closest(".cell_output");
      this.covered = last ? outputs.filter((each) => each !== own && after(own, each) && (each === last || after(each, last))
        && !each.closest(".cell").matches(".tag_check")) : [];
      // the sentence below a picture and the fold after it tell, too
      let below = last?.closest(".cell").nextElementSibling;
      if (below?.matches("p")) { this.covered.push(below); below = below.nextElementSibling; }
      while (below?.matches("details.sd-dropdown")) { this.covered.push(below); below = below.nextElementSibling; }
      this.sentence = this.answer?.querySelector("span").textContent;
      this.cover = document.createElement("div");
      this.cover.className = "dlcv-cover";
      this.cover.append("What came is covered until you choose. ", button("Show me", () => this.settle(SHOWN)));
      this.options = [...box.querySelectorAll("li")].map((item, index) => {
        const choice = button(item.textContent, () => this.settle(String(index)));
        item.replaceChildren(choice);
        return choice;
      });
      this.again = button("Ask me again", () => { memory.drop(this.key); this.ask(); this.options[0].focus(); });
      this.covered.forEach((each) => each.addEventListener("beforematch", () => this.settle(SHOWN)));
      const kept = memory.get(this.key);
      if (kept === SHOWN || this.options[kept]) this.show(kept); else this.ask();
    }

    get choice() { return this.kept === SHOWN || this.kept === null ? null : +this.kept; }
    get foreseen() { return this.answer !== null && this.choice === +this.answer.dataset.right; }

    ask() {
      this.kept = null;
      this.options.forEach((each) => { each.disabled = false; each.setAttribute("aria-pressed", "false"); });
      this.said.textContent = this.answer ? "Choose before you read on; this page remembers it." : "Choose one; this page remembers it.";
      this.covered.forEach((each) => each.setAttribute("hidden", "until-found"));
      this.covered[0]?.before(this.cover);
      count();
    }

    settle(kept) {
      memory.set(this.key, kept);
      const here = this.cover.contains(document.activeElement);
      this.show(kept);
      if (here) { this.covered[0].tabIndex = -1; this.covered[0].focus({ preventScroll: true }); }
    }

    show(kept) {
      this.kept = kept;
      this.cover.remove();
      this.covered.forEach((each) => each.removeAttribute("hidden"));
      this.options.forEach((each, index) => {
        each.disabled = true;
        each.setAttribute("aria-pressed", String(index === this.choice));
      });
      const told = this.choice === null ? this.sentence : this.answer && JSON.parse(this.answer.dataset.answers)[this.choice];
      if (this.answer) {
        this.answer.querySelector("span").textContent = told;
        this.answer.classList.toggle("is-foreseen", this.foreseen);
      }
      this.said.textContent = this.choice === null ? "You looked it up. " : `Noted: ${this.options[this.choice].textContent}. Now read on. `;
      this.said.append(this.again);
      count();
    }
  }

  // how many came true: of this page, and at the end of a chapter of all its pages
  let predictions = [];
  const end = document.querySelector(".lesson-end");
  const count = () => {
    const asked = predictions.filter((each) => each.answer);
    if (!end || !asked.length) return;
    const store = `dlcv:foreseen:${end.dataset.chapter}`;
    const pages = JSON.parse(memory.get(store) ?? "{}");
    pages[end.dataset.notebook] = [asked.filter((each) => each.foreseen).length, asked.filter((each) => each.kept !== null).length];
    memory.set(store, JSON.stringify(pages));
    const [right, done] = Object.values(pages).reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
    const line = end.querySelector(".foreseen");
    line.hidden = done === 0;
    line.textContent = `You foresaw ${right} of ${done} in this chapter.`;
  };
  predictions = [...document.querySelectorAll(".dlcv-predict")].map((box) => new Prediction(box));
  count();

  let opened = [];
  addEventListener("beforeprint", () => { // on paper nothing is covered
    opened = predictions.filter((each) => each.cover.isConnected);
    opened.forEach((each) => each.covered.forEach((output) => output.removeAttribute("hidden")));
  });
  addEventListener("afterprint", () => opened.forEach((each) => each.covered.forEach((output) => output.setAttribute("hidden", "until-found"))));

  document.querySelectorAll(".quick-question").forEach((box) => {
    const said = box.querySelector(".quick-said");
    const answers = [...box.querySelectorAll("details li")];
    const choices = [...box.querySelectorAll("input[type=radio]")];
    const key = `dlcv:quick:${box.dataset.key}`;
    const answer = (choice) => {
      const right = choice.value === box.dataset.answer;
      said.className = `quick-said ${right ? "is-right" : "is-wrong"}`;
      said.innerHTML = `<b>${right ? "✓ Yes." : "✗ Not this one."}</b> ${answers[+choice.value].querySelector("span").innerHTML}`;
    };
    const kept = choices.find((choice) => choice.value === memory.get(key));
    if (kept) { kept.checked = true; answer(kept); }
    box.addEventListener("change", (event) => {
      if (!choices.includes(event.target)) return;
      memory.set(key, event.target.value);
      answer(event.target);
    });
  });
})();
