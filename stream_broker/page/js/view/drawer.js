// On a narrow screen the conversations are a drawer over the page: it takes the focus, and gives it back.

export class Drawer {
  constructor({ drawer, rest, opener, shade }) {
    Object.assign(this, { drawer, rest, opener, shade });
    this.narrow = matchMedia("(max-width: 760px)");
    opener.addEventListener("click", () => this.open());
    shade.addEventListener("click", () => this.close());
    this.narrow.addEventListener("change", () => this.close());
    this.close();
  }

  get isOpen() {
    return this.drawer.classList.contains("open");
  }

  open() {
    this.#set(true);
    this.drawer.querySelector("button")?.focus();
  }

  close() {
    const wasOpen = this.isOpen;
    this.#set(false);
    if (wasOpen && this.narrow.matches) this.opener.focus();
  }

  #set(open) {
    this.drawer.classList.toggle("open", open);
    this.drawer.inert = this.narrow.matches && !open;
    this.rest.inert = open;
    this.shade.hidden = !open;
    this.opener.setAttribute("aria-expanded", String(open));
  }
}
