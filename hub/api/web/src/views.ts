// The views of the dashboard: their addresses, their keys, and the question that each answers.
export interface View {
  readonly path: string;
  readonly title: string;
  /** Pressed after "g". */
  readonly key: string;
  readonly about: string;
}

export const VIEWS: readonly View[] = [
  { path: "", title: "Home", key: "h", about: "Is anything wrong, and what waits for me?" },
  { path: "review", title: "Review", key: "r", about: "Is what was found true?" },
  { path: "runs", title: "Runs", key: "u", about: "What failed, and why?" },
  { path: "agents", title: "Agents", key: "a", about: "What runs when, and is it healthy?" },
  { path: "questions", title: "Questions", key: "q", about: "What do agents ask me?" },
  { path: "devices", title: "Devices", key: "d", about: "Who is here, and who wants to be?" },
];
