// Configuration of html-validate, which tests/pages/test_html.py runs.
export default { root: true, extends: ["html-validate:recommended"] };
