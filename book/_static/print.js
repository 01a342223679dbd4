// on paper nothing can be opened and nothing is dark: what folds is open, but for answers and the code of pictures, and
// the page is light while it is printed
(() => {
  const page = document.documentElement;
  let opened = [];
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.dataset.theme;
    page.dataset.theme = "light";
    document.querySelectorAll("img[loading=lazy]").forEach((picture) => { picture.loading = "eager"; });
    opened = [...document.querySelectorAll("details:not([open], .above-input, .quick-question > details, .lesson-end details)")];
    opened.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => {
    page.dataset.theme = theme;
    opened.forEach((fold) => { fold.open = false; });
  });
})();
