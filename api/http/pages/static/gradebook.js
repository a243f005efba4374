// What makes the pages handier; everything works without it.
"use strict";

(() => {
  document.documentElement.classList.add("scripted");

  // Arrow keys move between the grades of the table, which is then one stop for Tab.
  const table = document.querySelector("table.book");
  if (table) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("a.cell")]);
    const cells = rows.flat();
    let current = cells[0];
    cells.forEach((cell) => { cell.tabIndex = -1; });
    if (current) current.tabIndex = 0;

    const choose = (cell) => {
      current.tabIndex = -1;
      current = cell;
      current.tabIndex = 0;
    };
    const steps = {
      ArrowUp: (y, x) => [y - 1, x],
      ArrowDown: (y, x) => [y + 1, x],
      ArrowLeft: (y, x) => [y, x - 1],
      ArrowRight: (y, x) => [y, x + 1],
      Home: (y) => [y, 0],
      End: (y) => [y, rows[y].length - 1],
      PageUp: (y, x) => [Math.max(0, y - 10), x],
      PageDown: (y, x) => [Math.min(rows.length - 1, y + 10), x],
    };
    table.addEventListener("focusin", (event) => {
      const cell = event.target.closest("a.cell");
      if (cell) choose(cell);
    });
    table.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const cell = event.target.closest("a.cell");
      if (!step || !cell || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const y = rows.findIndex((row) => row.includes(cell));
      const [toY, toX] = step(y, rows[y].indexOf(cell));
      const next = rows[toY]?.[toX];
      event.preventDefault();
      if (next) next.focus();
    });
    // Coming back from a grade, go on where it stands.
    const back = location.hash && document.getElementById(location.hash.slice(1));
    const first = back && back.querySelector("a.cell");
    if (first) choose(first);
  }

  // Addresses hold only the filters that were filled in.
  for (const form of document.querySelectorAll("form[method=get]")) {
    form.addEventListener("submit", () => {
      for (const field of form.elements) {
        if (field.name && field.value === "") field.disabled = true;
      }
    });
  }
  // Pages that the browser brings back must not keep those fields shut.
  addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("form[method=get] :disabled, form[data-once] button")) {
      field.disabled = false;
    }
  });

  // A form is sent once.
  for (const form of document.querySelectorAll("form[data-once]")) {
    form.addEventListener("submit", () => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    });
  }

  const wrong = document.querySelector("[aria-invalid]");
  if (wrong) wrong.focus();
})();
