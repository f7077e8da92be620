// <copy-link>: a button that copies the link before it. Made by script, because it does nothing without one; left out
// where the page has no clipboard, as over plain http from another machine.
customElements.define(
  "copy-link",
  class extends HTMLElement {
    connectedCallback() {
      if (!navigator.clipboard) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy link";
      const status = document.createElement("span");
      status.setAttribute("role", "status"); // not every browser of 2020 has the property
      button.addEventListener("click", async () => {
        status.textContent = ""; // so that a second "Copied" is announced, too
        try {
          await navigator.clipboard.writeText(this.previousElementSibling.href);
          status.textContent = "Copied";
        } catch {
          status.textContent = "Not copied: the browser did not allow it.";
        }
      });
      this.replaceChildren(button, " ", status);
    }
  },
);
