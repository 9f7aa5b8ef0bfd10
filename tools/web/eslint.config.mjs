import js from "@eslint/js"
import globals from "globals"

export default [
    js.configs.recommended,
    {
        languageOptions: { globals: { ...globals.browser, LiteGraph: "readonly" } },
        linterOptions: { reportUnusedDisableDirectives: "error" },
        rules: {
            "no-unused-vars": "error",
            "no-shadow": "error",
            "no-var": "error",
            "prefer-const": "error",
            eqeqeq: ["error", "smart"],
            "max-lines": ["error", 300],
            "max-lines-per-function": ["error", 45],
            "no-restricted-syntax": [
                "error",
                {
                    selector: "AssignmentExpression[left.object.name='window']",
                    message: "The page is not ours: nothing is written to window.",
                },
            ],
        },
    },
]
