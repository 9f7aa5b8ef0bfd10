/** A small widget with up to three short lines of text and, if needed, a button. It is not part of the workflow. */

const LINE_HEIGHT = 16
const LEAST_LINES = 2
const PADDING = 8
const MARGIN = 4 // of the host around the element
const BUTTON_HEIGHT = 30

export class Panel {
    /** @param {any} node */
    constructor(node) {
        this.node = node
        this.text = document.createElement("div")
        this.text.setAttribute("role", "status")
        this.text.setAttribute("aria-live", "polite")
        Object.assign(this.text.style, {
            flex: "1",
            whiteSpace: "pre-line",
            overflowWrap: "anywhere",
            font: `12px/${LINE_HEIGHT}px sans-serif`,
            color: "var(--input-text, #ddd)",
            userSelect: "text",
        })
        this.button = document.createElement("button")
        this.button.type = "button"
        this.button.hidden = true
        Object.assign(this.button.style, {
            font: "12px sans-serif",
            height: `${BUTTON_HEIGHT - 6}px`,
            border: "1px solid var(--border-color, #555)",
            borderRadius: "6px",
            background: "var(--comfy-input-bg, #222)",
            color: "var(--input-text, #ddd)",
            cursor: "pointer",
        })
        this.button.addEventListener("click", () => this.onPress?.())
        const element = document.createElement("div")
        element.className = "apisr-panel"
        Object.assign(element.style, { display: "flex", flexDirection: "column", gap: "4px", padding: "4px 10px", boxSizing: "border-box" })
        element.append(this.text, this.button)
        const widget = node.addDOMWidget("apisr_text", "apisr_text", element, {
            serialize: false,
            hideOnZoom: false,
            margin: MARGIN,
            getMinHeight: () => this.height,
            getMaxHeight: () => this.height,
        })
        widget.serialize = false
        /** @type {(() => void) | undefined} */
        this.onPress = undefined
        this.height = this.wantedHeight()
    }

    /**
     * @param {string} text
     * @param {string} [hint] shown when the pointer rests on it
     * @param {{isBrief?: boolean}} [options] isBrief: soon followed by another, so that it is not read out
     */
    show(text, hint = "", { isBrief = false } = {}) {
        this.text.setAttribute("aria-live", isBrief ? "off" : "polite")
        if (this.text.textContent !== text) this.text.textContent = text
        if (this.text.title !== hint) this.text.title = hint
        this.fit()
    }

    /**
     * Show a button, or none.
     * @param {string | undefined} label
     * @param {() => void} onPress
     */
    offer(label, onPress) {
        this.onPress = onPress
        this.button.hidden = label === undefined
        if (label !== undefined && this.button.textContent !== label) this.button.textContent = label
        this.fit()
    }

    wantedHeight() {
        const lines = Math.max(LEAST_LINES, (this.text.textContent ?? "").split("\n").length)
        return 2 * MARGIN + PADDING + lines * LINE_HEIGHT + (this.button.hidden ? 0 : BUTTON_HEIGHT)
    }

    /** Make room on the node for what is shown; never less, so that nodes do not jump. */
    fit() {
        const wanted = this.wantedHeight()
        if (wanted === this.height) return
        this.height = wanted
        const [width, height] = this.node.size
        const least = this.node.computeSize()[1]
        if (least > height) this.node.setSize([width, least])
        this.node.setDirtyCanvas?.(true, true)
    }
}
