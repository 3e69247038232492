// SPDX-License-Identifier: Apache-2.0
/** The dialog with the session's links. */

export class ShareDialog {
  #dialog;
  #notices;

  constructor(dialog, notices, onClose) {
    this.#dialog = dialog;
    this.#notices = notices;
    dialog.addEventListener("close", onClose);
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
      const field = event.target.dataset?.copy;
      if (field) this.#copy(document.getElementById(field));
    });
  }

  async open() {
    try {
      for (const role of ["view", "control"]) {
        const response = await fetch("/api/share", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ role }),
        });
        if (!response.ok) throw new Error(`${response.status}`);
        document.getElementById(`share-${role}`).value = (await response.json()).url;
      }
      this.#dialog.showModal();
    } catch (error) {
      this.#notices.show(`The links could not be had (${error.message}).`, "error");
    }
  }

  async #copy(input) {
    input.select();
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(input.value);
      else if (!document.execCommand("copy")) throw new Error("refused");
      this.#notices.show("The link was copied.");
    } catch {
      this.#notices.show("Press Ctrl+C to copy the link.", "warning");
    }
  }
}
