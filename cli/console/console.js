// Single keys for what the page can do by links, buttons and fields anyway. Nothing here is needed.
"use strict";

const picks = () => [...document.querySelectorAll("main .pick")];
const ticks = () => [...document.querySelectorAll("main input[name=case]")];

function move(step) {
  const rows = picks();
  const at = rows.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
  rows[Math.min(Math.max(next, 0), rows.length - 1)]?.focus();
}

function tickRow() {
  const box = document.activeElement.closest("tr")?.querySelector("input[name=case]");
  if (box) box.checked = !box.checked;
}

function tickAll() {
  const all = ticks();
  const wanted = !all.every((box) => box.checked);
  for (const box of all) box.checked = wanted;
}

function use(target) {
  if (target.matches("a")) return target.click();
  // A verdict without a ticked row is about the row where one is.
  if (target.matches("[data-verdict]") && ticks().length && !ticks().some((box) => box.checked)) {
    if (!picks().includes(document.activeElement)) move(1);
    tickRow();
  }
  target.focus();
  target.scrollIntoView({ block: "nearest" });
}

const keys = { j: () => move(1), k: () => move(-1), x: tickRow, a: tickAll };

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && typing) return typing.blur();
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target) use(target);
  else if (Object.hasOwn(keys, event.key)) keys[event.key]();
  else return;
  event.preventDefault();
});
