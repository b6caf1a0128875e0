"use strict";
(() => {
  const PAGE_SIZE = 50;
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const columns = data.columns;
  const given = columns.findIndex((column) => column.key === "given_label");
  const proposed = columns.findIndex((column) => column.key === "proposed_label");
  let order = data.rows.map((row, index) => index);
  let shown = order;
  const confidence = columns.findIndex((column) => column.kind === "confidence");
  let sorted = { column: confidence, ascending: false };
  let page = 0;

  const text = (column, value) => {
    if (value === null) return "";
    if (column.kind === "class") return data.classes[value];
    if (column.kind === "confidence" && typeof value === "number") return value.toFixed(3);
    return String(value);
  };
  columns.forEach((column, k) => {
    column.isNumber = column.kind !== "class" &&
      data.rows.every((row) => typeof row[k] === "number" || row[k] === "");
  });
  const searched = data.rows.map((row) =>
    columns.map((column, k) => text(column, row[k])).join("\n").toLowerCase(),
  );

  const element = (tag, content, className) => {
    const made = document.createElement(tag);
    if (content !== undefined) made.textContent = content;
    if (className) made.className = className;
    return made;
  };

  const compare = (k) => (a, b) => {
    const [left, right] = [data.rows[a][k], data.rows[b][k]];
    return columns[k].isNumber
      ? left - right
      : collator.compare(text(columns[k], left), text(columns[k], right));
  };

  const sort = () => {
    order = data.rows.map((row, index) => index);
    const k = sorted.column;
    if (k === confidence) {
      // The rows come in this order, ties and infinite losses included.
      if (sorted.ascending) order.reverse();
      return;
    }
    // What is missing comes last in both directions.
    const isEmpty = (index) => text(columns[k], data.rows[index][k]) === "";
    const full = order.filter((index) => !isEmpty(index));
    const sign = sorted.ascending ? 1 : -1;
    const by = compare(k);
    full.sort((a, b) => sign * by(a, b) || a - b);
    order = full.concat(order.filter(isEmpty));
  };

  const filter = () => {
    const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = [[given, find("given").value]];
    if (find("proposed")) wanted.push([proposed, find("proposed").value]);
    shown = order.filter((index) =>
      words.every((word) => searched[index].includes(word)) &&
      wanted.every(([k, value]) => value === "" || data.rows[index][k] === Number(value)),
    );
  };

  const cell = (column, value) => {
    if (column.kind === "text") {
      const td = element("td", undefined, "text words");
      const inner = element("div", text(column, value));
      if (inner.textContent.length > 200) inner.tabIndex = 0;
      td.append(inner);
      return td;
    }
    return element("td", text(column, value), column.isNumber ? "" : "text");
  };

  const row = (index) => {
    const tr = element("tr");
    if (data.pictures.length) {
      const td = element("td", undefined, "text picture");
      const address = data.pictures[index];
      if (address) {
        const picture = element("img");
        picture.alt = "Picture of " + text(columns[data.name], data.rows[index][data.name]);
        picture.src = address;
        td.append(picture);
      }
      tr.append(td);
    }
    columns.forEach((column, k) => tr.append(cell(column, data.rows[index][k])));
    return tr;
  };

  const number = (value) => value.toLocaleString("en");
  const render = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
    page = Math.min(page, pages - 1);
    const start = page * PAGE_SIZE;
    const part = shown.slice(start, start + PAGE_SIZE);
    find("suspects").tBodies[0].replaceChildren(...part.map(row));
    find("status").textContent =
      `${number(shown.length)} of ${number(data.total)} suspects` +
      (part.length ? `, rows ${number(start + 1)} to ${number(start + part.length)}` : "");
    find("page").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    find("previous").disabled = page === 0;
    find("next").disabled = page === pages - 1;
    find("download").disabled = !shown.length;
    find("download").textContent = shown.length === data.rows.length
      ? "Download as CSV"
      : `Download these ${number(shown.length)} as CSV`;
  };
  const refresh = () => {
    page = 0;
    filter();
    render();
  };

  const heads = columns.map((column, k) => {
    const th = element("th", undefined, column.isNumber ? undefined : "text");
    th.scope = "col";
    th.setAttribute("aria-sort", k === confidence ? "descending" : "none");
    const button = element("button", column.label);
    button.type = "button";
    button.addEventListener("click", () => {
      const first = k !== confidence;
      sorted = { column: k, ascending: sorted.column === k ? !sorted.ascending : first };
      heads.forEach((head) => head.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", sorted.ascending ? "ascending" : "descending");
      sort();
      refresh();
    });
    th.append(button);
    return th;
  });

  const safe = (value) => {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    // A spreadsheet would run what begins like a formula, full-width signs included.
    const harmless = /^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/.test(value) ? "'" + value : value;
    return /[",\r\n]/.test(harmless) ? '"' + harmless.replaceAll('"', '""') + '"' : harmless;
  };
  const csv = () => {
    const head = [];
    columns.forEach((column) => {
      head.push(safe(column.key));
      if (column.kind === "class" && data.has_names) head.push(safe(column.key.replace("_label", "_class")));
    });
    const lines = shown.map((index) => {
      const cells = [];
      columns.forEach((column, k) => {
        const value = data.rows[index][k];
        cells.push(safe(value));
        if (column.kind === "class" && data.has_names) cells.push(safe(text(column, value)));
      });
      return cells.join(",");
    });
    return [head.join(","), ...lines, ""].join("\n");
  };
  const download = () => {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
    const link = element("a");
    link.href = address;
    link.download = "suspects.csv";
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  };

  const options = (id, k) => {
    const counts = new Map();
    data.rows.forEach((each) => {
      if (each[k] !== null) counts.set(each[k], (counts.get(each[k]) || 0) + 1);
    });
    [...counts.keys()].sort((a, b) => a - b).forEach((value) => {
      const option = element("option", `${data.classes[value]} (${number(counts.get(value))})`);
      option.value = value;
      find(id).append(option);
    });
  };

  const head = find("suspects").tHead.rows[0];
  if (data.pictures.length) {
    const th = element("th", undefined, "text");
    th.scope = "col";
    th.append(element("span", "picture"));
    head.append(th);
  }
  head.append(...heads);
  options("given", given);
  if (find("proposed")) options("proposed", proposed);
  find("search").addEventListener("input", refresh);
  find("filters").addEventListener("change", refresh);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  // The fields are empty only after this event.
  find("filters").addEventListener("reset", () => setTimeout(refresh));
  find("download").addEventListener("click", download);
  const turn = (step) => {
    page += step;
    render();
    find("frame").scrollIntoView({ block: "start" });
  };
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  document.querySelectorAll("td[data-given]").forEach((td) => {
    const button = element("button", td.textContent);
    button.type = "button";
    button.title = "Show these suspects";
    button.addEventListener("click", () => {
      find("search").value = "";
      find("given").value = td.dataset.given;
      find("proposed").value = td.dataset.proposed;
      refresh();
      find("explorer").scrollIntoView();
    });
    td.replaceChildren(button);
  });
  find("explorer").hidden = false;
  refresh();
})();
