// Swagger UI parses responses with JSON.parse, which rounds integers past 2^53. This shows them unchanged.
const exact = (text) => {
  try {
    const keep = (_, value, { source }) => (typeof value === "number" ? JSON.rawJSON(source) : value);
    return JSON.stringify(JSON.parse(text, keep), null, 2);
  } catch {
    return text; // not JSON, or a browser without rawJSON
  }
};

const ExactResponses = (system) => ({
  wrapComponents: {
    responseBody: (Original) => (props) =>
      system.React.createElement(Original, { ...props, content: exact(props.content), contentType: "text/plain" }),
  },
});

// Accessibility: Swagger UI puts links into buttons, skips a heading level, and has content outside of landmarks.
const Accessible = ({ React: { createElement } }) => ({
  wrapComponents: {
    DeepLink: () => ({ text }) => text,
    InfoContainer: (Original) => (props) =>
      createElement("section", { "aria-label": "About" }, createElement(Original, props)),
    operations: (Original) => (props) =>
      createElement("div", null, createElement("h2", null, "Operations"), createElement(Original, props)),
  },
});

// Swagger UI has a dark theme, and leaves it to the page to switch it on.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

SwaggerUIBundle({
  url: document.getElementById("docs").dataset.schema,
  dom_id: "#docs",
  deepLinking: true,
  tryItOutEnabled: true,
  plugins: [ExactResponses, Accessible],
});
