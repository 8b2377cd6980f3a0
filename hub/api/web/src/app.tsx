import { render } from "preact";
import { followLinks } from "./router";
import { Shell } from "./shell";
import "./base.css";
import "./style.css";

followLinks();
render(<Shell />, document.getElementById("app") as HTMLElement);
