// SPDX-License-Identifier: Apache-2.0
/** The guest's outputs: the one that this page shows, the others, and windows for them. */

const MAX_OUTPUT = 15;

/** The output that an address asks for by `#output=N`, counted from 0. */
export function wantedOutput(hash) {
  const number = Number(new URLSearchParams(hash.slice(1)).get("output") ?? 0);
  return Number.isInteger(number) && number >= 0 && number <= MAX_OUTPUT ? number : 0;
}

export class Outputs {
  #dialog;
  #list;
  #output;
  #shown = new Map(); // id → {width, height}
  #limit = 1;
  #mayAdd = false;

  /** @param {number} output the one of this page */
  constructor(dialog, output, onClose) {
    this.#dialog = dialog;
    this.#list = dialog.querySelector("ul");
    this.#output = output;
    // So that the other windows find this one again.
    window.name = windowName(output);
    dialog.addEventListener("close", onClose);
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
      const link = event.target.closest("a[href]");
      if (link) this.#follow(event, link);
    });
  }

  /** Takes the session's word for what there is. `mayAdd`: whether this page may have the guest plug in another. */
  set({ outputs, limit }, mayAdd) {
    if (!Array.isArray(outputs)) return;
    this.#shown = new Map(outputs.filter(isOutput).map((each) => [each.id, each]));
    this.#limit = Number.isInteger(limit) ? Math.min(limit, MAX_OUTPUT + 1) : 1;
    this.#mayAdd = mayAdd;
    this.#fill();
  }

  /** Whether the guest shows something on this page's output. */
  get isOn() { return this.#shown.has(this.#output); }
  /** Whether this page can have it plugged in. */
  get canPlugIn() { return this.#mayAdd && this.#output < this.#limit; }
  /** Whether there is anything to choose. */
  get isChoice() { return this.#ids().length > 1; }
  /** What the page's title says of the output: nothing while there is only one. */
  get label() { return this.#output > 0 || this.#shown.size > 1 ? `screen ${this.#output + 1}` : ""; }

  open() {
    this.#fill();
    this.#dialog.showModal();
  }

  #ids() {
    const ids = new Set([this.#output, ...this.#shown.keys()]);
    for (let id = 0; this.#mayAdd && id < this.#limit; id++) ids.add(id);
    return [...ids].sort((a, b) => a - b);
  }

  #fill() {
    this.#list.replaceChildren(...this.#ids().map((id) => {
      const link = document.createElement("a");
      const name = link.appendChild(document.createElement("span"));
      name.textContent = `Screen ${id + 1}`;
      const state = link.appendChild(document.createElement("small"));
      const size = this.#shown.get(id);
      state.textContent = size ? `${size.width} × ${size.height}` : "off: opening it switches it on";
      if (id === this.#output) {
        link.setAttribute("aria-current", "page");
        state.textContent = `${size ? state.textContent : "off"}, this window`;
      } else {
        link.href = address(id);
        link.target = windowName(id);
      }
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
  }

  /** A window rather than a tab: it goes to another monitor. Who holds a modifier, or blocks windows, gets what the browser makes of it. */
  #follow(event, link) {
    this.#dialog.close();
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const opened = window.open(link.href, link.target, `popup,width=${window.innerWidth},height=${window.innerHeight}`);
    if (!opened) return;
    opened.focus();
    event.preventDefault();
  }
}

function isOutput(each) {
  return Number.isInteger(each?.id) && each.id >= 0 && each.id <= MAX_OUTPUT;
}

function windowName(id) { return `heliograph-output-${id}`; }

function address(id) {
  const hash = new URLSearchParams(location.hash.slice(1));
  hash.set("output", id);
  return `${location.pathname}${location.search}#${hash}`;
}
