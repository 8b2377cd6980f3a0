import { render } from "preact";
import { followLinks } from "./router";
import { Shell } from "./shell";
import "uplot/dist/uPlot.min.css";
import "./base.css";
import "./style.css";

followLinks();
render(<Shell />, document.getElementById("app") as HTMLElement);
