import { render } from "preact";
import { followLinks } from "./router";
import { Shell } from "./shell";
import "./base.css";
import "./style.css";

// Ask before what was typed into a form would be lost; what is searched for is in the address.
let typed: Element | null = null;
addEventListener("input", ({ target }) => (typed = (target as Element).closest("form:not([role=search])") ?? typed));
addEventListener("submit", () => (typed = null));
addEventListener("beforeunload", (event) => typed?.isConnected && event.preventDefault());

followLinks();
const root = document.getElementById("app") as HTMLElement;
root.textContent = ""; // what was shown until now
render(<Shell />, root);
