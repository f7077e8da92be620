// Configuration of html-validate, which tests/test_html.py runs.
export default { root: true, extends: ["html-validate:recommended"] };
