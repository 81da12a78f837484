(() => {
for (const table of document.querySelectorAll("table.chandlery-table:not([data-sorts])")) {
  table.dataset.sorts = "1";
  const body = table.tBodies[0], fold = body.querySelector("details");
  const cut = [...body.rows].find(row => row.querySelector("td[colspan]"));
  const more = fold ? [...fold.querySelectorAll("tbody > tr")] : [];
  const absent = cut?.cells[0].dataset.absent;
  const all = [...body.rows].flatMap(row => row === cut ? more : [row]);
  const value = (row, at) => {
    const cell = row.cells[at], text = (cell?.dataset.v ?? cell?.textContent ?? "").trim();
    const number = Number(text.replaceAll(",", "").replace(/^×/, ""));
    return text && !Number.isNaN(number) ? number : text;
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === "number" ? -1 : typeof b === "number" ? 1 : a.localeCompare(b, undefined, { numeric: true });
  const heads = [...table.tHead.rows[0].cells];
  let by = -1, down = false;
  const box = document.createElement("input"), count = document.createElement("span"), bar = document.createElement("div");
  box.type = "search";
  box.placeholder = "filter rows";
  box.setAttribute("aria-label", "filter rows");
  box.style.cssText = "font:inherit;padding:0 0.4em;margin-bottom:0.3em;color:inherit;background:transparent;border:1px solid rgba(128,128,128,0.6)";
  count.style.cssText = "opacity:0.75;margin-left:0.7em";
  count.setAttribute("role", "status");
  for (const name of ["keydown", "keyup", "keypress"]) box.addEventListener(name, event => event.stopPropagation());
  const draw = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = all.filter(row => words.every(word => row.textContent.toLowerCase().includes(word)));
    if (by >= 0) kept.sort((a, b) => order(value(a, by), value(b, by)) * (down ? -1 : 1));
    heads.forEach((head, at) => head.setAttribute("aria-sort", at !== by ? "none" : down ? "descending" : "ascending"));
    heads.forEach((head, at) => head.lastChild.textContent = at !== by ? "" : down ? " ↓" : " ↑");
    count.textContent = `${kept.length} of ${all.length} rows` + (absent ? ` here, ${absent} more are not on this page` : "");
    body.replaceChildren(...kept);
  };
  heads.forEach((head, at) => {
    head.append(document.createElement("span"));
    if (!head.textContent) return;
    head.tabIndex = 0;
    head.title = "sort";
    head.style.cursor = "pointer";
    const sort = () => { down = by === at && !down; by = at; draw(); };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      sort();
    });
  });
  box.addEventListener("input", draw);
  bar.append(box, count);
  table.before(bar);
}
})();
