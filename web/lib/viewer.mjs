/** Shows two pictures in one place: a divider between them, zoom around the pointer, and pan. Knows nothing of nodes. */

const MOST_ZOOM = 8 // screen pixels for each pixel of a picture
const STEP = 0.05 // of the width, by arrow keys
const LINE = 16 // CSS pixels, for wheels that count in lines

const CSS = {
    root: { position: "relative", width: "100%", height: "100%", minHeight: "200px", overflow: "hidden", touchAction: "none", background: "var(--comfy-input-bg, #222)", outline: "none", borderRadius: "6px" },
    image: { position: "absolute", left: "0", top: "0", transformOrigin: "0 0", maxWidth: "none", userSelect: "none", pointerEvents: "none" },
    line: { position: "absolute", top: "0", bottom: "0", width: "2px", marginLeft: "-1px", background: "#fff", boxShadow: "0 0 3px #000", pointerEvents: "none" },
    label: { position: "absolute", top: "6px", padding: "2px 6px", font: "11px sans-serif", color: "#fff", background: "rgba(0,0,0,.6)", borderRadius: "4px", pointerEvents: "none" },
    bar: { position: "absolute", bottom: "6px", right: "6px", display: "flex", gap: "4px" },
    button: { font: "11px sans-serif", color: "#fff", background: "rgba(0,0,0,.6)", border: "1px solid rgba(255,255,255,.4)", borderRadius: "4px", padding: "2px 8px", cursor: "pointer" },
    message: { position: "absolute", inset: "0", display: "flex", alignItems: "center", justifyContent: "center", whiteSpace: "pre-line", textAlign: "center", font: "12px sans-serif", color: "var(--input-text, #ddd)" },
}

function make(tag, style, parent) {
    const element = document.createElement(tag)
    Object.assign(element.style, style)
    parent?.append(element)
    return element
}

function setAttributes(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
}

export class Viewer {
    /** @param {() => {before: string, after: string, divider: string, gone: string, previous: string, next: string, zoom: string}} texts in the UI's language */
    constructor(texts) {
        this.texts = texts
        this.element = make("div", CSS.root)
        this.element.className = "apisr-compare"
        this.element.tabIndex = -1 // the divider is in the order of the tab key
        setAttributes(this.element, { role: "group", "data-capture-wheel": "true" })
        this.after = /** @type {HTMLImageElement} */ (make("img", CSS.image, this.element))
        this.before = /** @type {HTMLImageElement} */ (make("img", CSS.image, this.element))
        this.line = make("div", CSS.line, this.element)
        this.line.tabIndex = 0
        setAttributes(this.line, { role: "slider", "aria-valuemin": "0", "aria-valuemax": "100" })
        this.leftLabel = make("div", { ...CSS.label, left: "6px" }, this.element)
        this.rightLabel = make("div", { ...CSS.label, right: "6px" }, this.element)
        this.message = make("div", CSS.message, this.element)
        this.bar = make("div", CSS.bar, this.element)
        this.previous = this.addButton("\u2039", () => this.turn(-1))
        this.next = this.addButton("\u203a", () => this.turn(1))
        this.toggle = this.addButton("1:1", () => this.toggleZoom())
        this.pages = { before: /** @type {string[]} */ ([]), after: /** @type {string[]} */ ([]) }
        this.isGone = false
        this.problem = "" // why there is nothing to show
        this.page = 0
        this.split = 0.5 // of the width
        this.zoom = 0 // CSS pixels for each pixel of `after`; 0: the whole picture
        this.x = this.y = 0 // top left corner of the picture, in CSS pixels
        this.dragged = /** @type {{x: number, y: number} | undefined} */ (undefined)
        this.observer = new ResizeObserver(() => this.draw())
        this.observer.observe(this.element)
        this.listen()
        this.draw()
    }

    addButton(label, onPress) {
        const button = /** @type {HTMLButtonElement} */ (make("button", CSS.button, this.bar))
        button.type = "button"
        button.textContent = label
        button.addEventListener("click", onPress)
        for (const type of ["pointerdown", "dblclick"]) button.addEventListener(type, (event) => event.stopPropagation())
        return button
    }

    /**
     * Show pairs of pictures.
     * @param {string[]} before addresses
     * @param {string[]} after addresses
     */
    show(before, after) {
        this.pages = { before, after }
        this.problem = ""
        this.page = 0
        this.zoom = 0
        this.turn(0)
    }

    /** Show why there is nothing to show. */
    fail(text) {
        this.problem = text
        this.draw()
    }

    count() {
        return Math.max(this.pages.before.length, this.pages.after.length)
    }

    turn(by) {
        const count = this.count()
        if (!this.pages.after.length) return
        this.page = (this.page + by + count) % count
        this.isGone = false
        for (const [image, addresses] of /** @type {[HTMLImageElement, string[]][]} */ ([[this.before, this.pages.before], [this.after, this.pages.after]])) {
            image.onload = () => this.draw()
            image.onerror = () => {
                this.isGone = true
                this.draw()
            }
            image.src = addresses[Math.min(this.page, addresses.length - 1)] ?? ""
        }
        this.draw()
    }

    close() {
        this.observer.disconnect()
    }

    listen() {
        const on = (type, listener, options) => this.element.addEventListener(type, listener, options)
        on("pointerenter", () => {
            // the host gives the wheel to what has the focus; it is not taken from somebody who is typing
            const isTyping = document.activeElement?.matches("input, textarea, select, [contenteditable]")
            if (!isTyping) this.element.focus({ preventScroll: true })
        })
        on("pointermove", (event) => this.move(event))
        on("pointerdown", (event) => {
            event.stopPropagation()
            this.element.focus({ preventScroll: true })
            this.element.setPointerCapture(event.pointerId)
            this.dragged = this.at(event)
            this.move(event)
        })
        for (const type of ["pointerup", "pointercancel"]) on(type, () => (this.dragged = undefined))
        on("dblclick", (event) => {
            event.stopPropagation()
            this.toggleZoom(this.at(event))
        })
        on("wheel", (event) => this.wheel(event), { passive: false })
        on("keydown", (event) => this.key(event))
    }

    /** Where an event is, in CSS pixels of the element, which the canvas of the graph may have scaled. */
    at(event) {
        const box = this.element.getBoundingClientRect()
        return { x: (event.clientX - box.left) / this.scale(), y: (event.clientY - box.top) / this.scale() }
    }

    scale() {
        return this.element.getBoundingClientRect().width / (this.element.offsetWidth || 1) || 1
    }

    move(event) {
        const { x, y } = this.at(event)
        if (this.dragged && this.zoom) {
            this.x += x - this.dragged.x
            this.y += y - this.dragged.y
            this.dragged = { x, y }
        } else {
            this.split = Math.min(1, Math.max(0, x / (this.element.offsetWidth || 1)))
        }
        this.draw()
    }

    wheel(event) {
        event.preventDefault()
        event.stopPropagation()
        this.zoomTo((this.zoom || this.fit()) * Math.exp(-event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1) * 0.002), this.at(event))
    }

    key(event) {
        const middle = { x: this.element.offsetWidth / 2, y: this.element.offsetHeight / 2 }
        const actions = {
            ArrowLeft: () => (this.split = Math.max(0, this.split - STEP)),
            ArrowRight: () => (this.split = Math.min(1, this.split + STEP)),
            Home: () => (this.split = 0),
            End: () => (this.split = 1),
            PageUp: () => this.turn(-1),
            PageDown: () => this.turn(1),
            "+": () => this.zoomTo((this.zoom || this.fit()) * 1.25, middle),
            "-": () => this.zoomTo((this.zoom || this.fit()) / 1.25, middle),
            0: () => (this.zoom = 0),
        }
        const action = actions[event.key]
        if (!action || event.ctrlKey || event.metaKey) return
        event.preventDefault()
        event.stopPropagation()
        action()
        this.draw()
    }

    /** The zoom at which the whole picture is seen. */
    fit() {
        const { naturalWidth: width, naturalHeight: height } = this.after
        return width && height ? Math.min(this.element.offsetWidth / width, this.element.offsetHeight / height) : 1
    }

    /** The zoom at which a pixel of the picture is a pixel of the screen. */
    real() {
        return 1 / (this.scale() * (window.devicePixelRatio || 1))
    }

    toggleZoom(at = { x: this.element.offsetWidth / 2, y: this.element.offsetHeight / 2 }) {
        if (this.zoom) this.zoom = 0
        else this.zoomTo(this.real(), at)
        this.draw()
    }

    zoomTo(zoom, at) {
        const before = this.zoom || this.fit()
        if (!this.zoom) this.centre()
        const wanted = Math.min(MOST_ZOOM * this.real(), zoom)
        if (wanted <= this.fit()) this.zoom = 0
        else {
            this.x = at.x - ((at.x - this.x) * wanted) / before
            this.y = at.y - ((at.y - this.y) * wanted) / before
            this.zoom = wanted
        }
        this.draw()
    }

    centre() {
        const zoom = this.zoom || this.fit()
        this.x = (this.element.offsetWidth - this.after.naturalWidth * zoom) / 2
        this.y = (this.element.offsetHeight - this.after.naturalHeight * zoom) / 2
    }

    /** The middle of the element always shows the picture. */
    keepInSight() {
        const [x, y] = [this.element.offsetWidth / 2, this.element.offsetHeight / 2]
        this.x = Math.min(x, Math.max(x - this.after.naturalWidth * this.zoom, this.x))
        this.y = Math.min(y, Math.max(y - this.after.naturalHeight * this.zoom, this.y))
    }

    draw() {
        const { naturalWidth: width, naturalHeight: height } = this.after
        const texts = this.texts()
        const isShown = width > 0 && !this.isGone && !this.problem
        this.message.textContent = this.problem || (this.isGone ? texts.gone : "")
        for (const part of [this.element, this.line]) part.setAttribute("aria-label", texts.divider)
        for (const part of [this.after, this.before, this.line, this.leftLabel, this.rightLabel, this.bar]) part.hidden = !isShown
        for (const part of [this.bar, this.message]) part.style.display = (part === this.bar) === isShown ? "flex" : "none"
        for (const button of [this.previous, this.next]) button.hidden = this.count() < 2
        for (const [button, name] of /** @type {[HTMLButtonElement, string][]} */ ([[this.previous, texts.previous], [this.next, texts.next], [this.toggle, texts.zoom]])) {
            button.title = name
            button.setAttribute("aria-label", name)
        }
        if (!isShown) return
        if (!this.zoom) this.centre()
        else this.keepInSight()
        const zoom = this.zoom || this.fit()
        const isCrisp = zoom > this.real() * 1.01
        const cut = Math.min(width, Math.max(0, (this.split * this.element.offsetWidth - this.x) / zoom))
        for (const image of [this.after, this.before]) {
            image.style.width = `${width}px`
            image.style.height = `${height}px`
            image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${zoom})`
        }
        this.after.style.imageRendering = isCrisp ? "pixelated" : "auto"
        this.before.style.clipPath = `inset(0 ${width - cut}px 0 0)`
        this.after.style.clipPath = `inset(0 0 0 ${cut}px)` // it would be seen through a transparent one
        this.line.style.left = `${this.split * 100}%`
        this.leftLabel.textContent = `${texts.before} ${this.before.naturalWidth} x ${this.before.naturalHeight}`
        const page = this.count() > 1 ? ` (${this.page + 1} / ${this.count()})` : ""
        this.rightLabel.textContent = `${texts.after} ${width} x ${height}${page}`
        this.toggle.textContent = this.zoom ? "\u2922" : "1:1"
        this.line.setAttribute("aria-valuenow", String(Math.round(this.split * 100)))
    }
}
