// Swagger UI reads answers by JSON.parse, which rounds integers past 2^53; this shows them as they came.
const exact = (text) => {
  try {
    const keep = (_, value, { source }) => (typeof value === "number" ? JSON.rawJSON(source) : value);
    return JSON.stringify(JSON.parse(text, keep), null, 2);
  } catch {
    return text; // no JSON, or a browser without rawJSON
  }
};

const ExactResponses = (system) => ({
  wrapComponents: {
    responseBody: (Original) => (props) =>
      system.React.createElement(Original, { ...props, content: exact(props.content), contentType: "text/plain" }),
  },
});

// Its addresses are links within buttons, its headings leave a level out, and its beginning belongs to no landmark.
const Accessible = ({ React: { createElement } }) => ({
  wrapComponents: {
    DeepLink: () => ({ text }) => text,
    InfoContainer: (Original) => (props) =>
      createElement("section", { "aria-label": "About" }, createElement(Original, props)),
    operations: (Original) => (props) =>
      createElement("div", null, createElement("h2", null, "Operations"), createElement(Original, props)),
  },
});

SwaggerUIBundle({
  url: document.getElementById("docs").dataset.schema,
  dom_id: "#docs",
  deepLinking: true,
  tryItOutEnabled: true,
  plugins: [ExactResponses, Accessible],
});
