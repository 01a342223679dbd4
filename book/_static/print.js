// on paper nothing can be opened: everything that folds is open while the page is printed
(() => {
  let opened = [];
  addEventListener("beforeprint", () => {
    document.querySelectorAll("img[loading=lazy]").forEach((picture) => { picture.loading = "eager"; });
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
})();
