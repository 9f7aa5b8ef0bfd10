/**
 * The text below the inputs of our nodes: what a run will give and take, how far it is, and how it ended.
 *
 * For the loader: what the chosen model is, and a button to download it.
 */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { isPlain, queryOf } from "./estimate.mjs"
import { allNodes, findNode, isActive, measureAgain, nodeOfStatus, rootGraph, valueOf, widgetOf } from "./graph.mjs"
import { language, say } from "./language.mjs"
import { askFor, entryOf, refreshModels } from "./models.mjs"
import { Panel } from "./panel.mjs"

const MILLISECONDS_TO_ASK_AGAIN = 5000
/** In the place of a query, for nodes that are muted or bypassed. */
const NOT_RUN = "not run"

/** @typedef {{query: string, text: string}} Final how a run ended, and for which settings */

/** One node's text, and what it depends on. */
class Face {
    constructor(node) {
        this.node = node
        this.panel = new Panel(node)
        this.query = "" // everything that the text depends on, as last looked at
        this.runQuery = "" // the same for the present or last run
        this.askAgainAt = 0 // not before this time: the server could not answer
        /** @type {any} */
        this.answer = undefined // the server's answer to that
        /** @type {string | undefined} */
        this.running = undefined
        /** @type {Final | undefined} */
        this.final = undefined
        /** @type {Final | undefined} */
        this.before = undefined // the final text before the present run
    }

    get isLoader() {
        return this.node.comfyClass === "APISRModelLoader"
    }

    /**
     * The final text of a run. If the size of the picture has become known only during the run, it belongs to it.
     * @param {string} text
     * @returns {Final}
     */
    ended(text) {
        // after a reload in the middle of a run nobody knows what it began with
        const isSame = !this.runQuery || withoutSize(this.query) === withoutSize(this.runQuery)
        return { query: isSame ? this.query : this.runQuery, text }
    }

    show() {
        if (this.running !== undefined) this.panel.show(this.running, "", { isBrief: true })
        else if (this.final && this.final.query === this.query) this.panel.show(this.final.text)
        else this.panel.show((this.answer?.lines ?? []).join("\n"), this.answer?.good_for)
    }
}

/** All of them. */
export class Faces {
    constructor() {
        /** @type {Map<any, Face>} */
        this.byNode = new Map()
        /** @type {Map<string, any>} downloads under way or failed, by id */
        this.downloads = new Map()
    }

    add(node) {
        this.byNode.set(node, new Face(node))
        const executed = node.onExecuted
        node.onExecuted = (/** @type {any} */ output, ...more) => {
            executed?.apply(node, [output, ...more])
            if (output?.apisr_text) this.keep(node, output.apisr_text[0])
        }
        const removed = node.onRemoved
        node.onRemoved = (...all) => {
            this.byNode.delete(node)
            return removed?.apply(node, all)
        }
    }

    listen() {
        const on = (type, listener) => api.addEventListener(type, (event) => listener(event.detail))
        on("apisr.status", (status) => this.status(status))
        on("apisr.download", (progress) => this.download(progress))
        on("execution_start", () => this.begin())
        on("execution_cached", ({ nodes }) => nodes.forEach((id) => this.restore(id)))
        for (const type of ["execution_success", "execution_error", "execution_interrupted"]) {
            on(type, () => this.end(type === "execution_success"))
        }
    }

    /** Look at all nodes: has anything changed that their texts depend on? */
    look() {
        for (const { node, id } of allNodes()) {
            const face = this.byNode.get(node)
            if (!face) continue
            if (face.isLoader) this.lookAtLoader(face)
            else if (node.comfyClass !== "APISRContactSheet") this.lookAt(face, id)
            face.show()
        }
    }

    lookAt(face, id) {
        const query = isActive(face.node) ? queryOf(face.node, (other) => this.sizeOfResult(other)) : NOT_RUN
        if (query === face.query || Date.now() < face.askAgainAt) return
        face.query = query
        face.final ??= recall(id)
        if (query === NOT_RUN) {
            face.answer = undefined
            return
        }
        ask(query).then(
            (answer) => {
                if (face.query === query) face.answer = answer // otherwise it is for settings of the past
            },
            () => {
                if (face.query === query) face.query = ""
                face.askAgainAt = Date.now() + MILLISECONDS_TO_ASK_AGAIN
            },
        )
    }

    /** The size of the result of one of our nodes, for the nodes behind it. */
    sizeOfResult(node) {
        const { width, height, count } = this.byNode.get(node)?.answer ?? {}
        return width && height ? { width, height, count } : undefined
    }

    lookAtLoader(face) {
        const name = modelOf(face)
        const entry = entryOf(name)
        const canFetch = entry?.id && !entry.present
        const download = canFetch ? this.downloads.get(entry.id ?? "") : undefined
        const values = (face.node.widgets ?? []).map((widget) => valueOf(face.node, widget).value)
        face.query = JSON.stringify([language(), ...values.filter(isPlain)])
        if (entry) face.answer = download ? { ...entry, lines: download.lines } : entry
        const isRunning = download?.state === "running" || (entry?.downloading && !download)
        face.panel.offer(
            !canFetch ? undefined : isRunning ? say("ui_cancel") : say("ui_download"),
            () => this.ask(isRunning ? "cancel" : "download", entry),
        )
    }

    async ask(what, entry) {
        if (what === "download") this.download({ id: entry.id, state: "running", done: 0, total: entry.bytes, speed: 0 })
        try {
            await askFor(what, entry.id)
        } catch (error) {
            this.download({ id: entry.id, state: "failed", error: String(error) })
        }
    }

    /** @param {{id: string, state: string, done?: number, total?: number, speed?: number, error?: string, key?: string, subject?: string}} progress */
    download({ id, state, done = 0, total = 0, speed = 0, error = "", key = "", subject = "" }) {
        for (const face of this.byNode.values()) {
            if (face.isLoader && entryOf(modelOf(face))?.id === id) face.final = undefined // it spoke of the missing file
        }
        if (state === "done" || state === "cancelled") {
            this.downloads.delete(id)
            refreshModels()
            return
        }
        const failure = key ? [say(`error_${key}`, { subject })] : [say("ui_failed"), firstLine(error)]
        const lines = state === "running" ? progressLines(id, done, total, speed) : failure
        this.downloads.set(id, { state, lines })
        if (state === "failed") {
            app.extensionManager?.toast?.add({ severity: "error", summary: say("ui_failed"), detail: error })
        }
    }

    status({ node: id, text, state, workflow }) {
        const face = this.byNode.get(nodeOfStatus({ node: id, workflow }))
        if (face) {
            face.running = text
            if (state !== "running") {
                face.final = face.ended(text)
                face.running = undefined
                if (!face.isLoader) remember(id, face.final)
            }
            if (face.isLoader && state === "done") refreshModels()
            face.show()
        }
    }

    /** The last text of a run, which the host has kept with the result: this comes for cached results too. */
    keep(node, text) {
        const face = this.byNode.get(node)
        const found = [...allNodes()].find((each) => each.node === node)
        if (!face || !found || !text) return
        face.final = face.ended(text)
        face.running = undefined
        remember(found.id, face.final)
        face.show()
    }

    /** The connection was lost: what ran may have ended since. */
    forget() {
        this.end(false)
        this.downloads.clear()
        refreshModels()
    }

    begin() {
        this.look() // what runs is what the graph says now
        measureAgain()
        for (const face of this.byNode.values()) {
            face.runQuery = face.query
            face.before = face.final
            face.final = face.running = undefined
            face.show()
        }
    }

    /** A node whose result was there already: its last text is still true. */
    restore(id) {
        const face = this.byNode.get(findNode(id))
        if (face) face.final ??= face.before
        face?.show()
    }

    end(isGood) {
        for (const face of this.byNode.values()) {
            if (face.running !== undefined && !isGood) face.final = face.ended(face.running)
            face.running = undefined
            if (isGood) face.final ??= face.before // it was not part of this run
            face.show()
        }
    }
}

/** The value of the model list of a loader, which may be on the subgraph around it. */
const modelOf = (face) => widgetOf(face.node, "model_name")

async function ask(query) {
    const response = await api.fetchApi(`/apisr/estimate?${query}`)
    if (!response.ok) throw new Error(response.statusText)
    return response.json()
}

function progressLines(id, done, total, speed) {
    const megabytes = (bytes) => Math.round(bytes / 1e6)
    return [
        say("ui_downloading", { done: megabytes(done), total: megabytes(total) }),
        speed ? say("ui_speed", { speed: (speed / 1e6).toFixed(1) }) : "",
    ]
}

const firstLine = (text) => String(text ?? "").split("\n")[0]

function withoutSize(query) {
    const left = new URLSearchParams(query)
    for (const name of ["width", "height", "count"]) left.delete(name)
    return left.toString()
}

const storageKey = (id) => `apisr.${rootGraph()?.id}.${id}`

/** Keep the last text of a node for the time after a reload of the page. */
function remember(id, final) {
    try {
        sessionStorage.setItem(storageKey(id), JSON.stringify(final))
    } catch {
        // storage is full or forbidden: then it is gone after a reload
    }
}

/** @returns {Final | undefined} */
function recall(id) {
    try {
        return JSON.parse(sessionStorage.getItem(storageKey(id)) ?? "null") ?? undefined
    } catch {
        return undefined
    }
}
