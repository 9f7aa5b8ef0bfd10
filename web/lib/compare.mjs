/** The comparison on the node APISRCompare: two pictures one above the other, a divider, zoom and pan. */

import { api } from "../../../scripts/api.js"
import { nodeOfStatus, rootGraph } from "./graph.mjs"
import { loadTexts, say } from "./language.mjs"
import { Viewer } from "./viewer.mjs"

/** @typedef {{filename: string, subfolder: string, type: string}} File one of the host's */

/**
 * Add the comparison to a new node.
 * @param {any} node
 */
export function addComparison(node) {
    const viewer = new Viewer(() => ({
        before: say("ui_before"),
        after: say("ui_after"),
        divider: say("ui_divider"),
        gone: say("ui_gone"),
        previous: say("ui_previous"),
        next: say("ui_next"),
        zoom: say("ui_zoom"),
    }))
    loadTexts()?.then(() => viewer.draw())
    const widget = node.addDOMWidget("apisr_compare", "apisr_compare", viewer.element, {
        serialize: false,
        hideOnZoom: false,
        getMinHeight: () => 240,
    })
    widget.serialize = false
    node.setSize([Math.max(node.size[0], 480), Math.max(node.size[1], 420)])

    const executed = node.onExecuted
    node.onExecuted = (/** @type {any} */ output, ...more) => {
        executed?.apply(node, [output, ...more])
        if (!output?.apisr_after) return
        show(viewer, output)
        remember(node, output)
    }
    const configured = node.onConfigure
    node.onConfigure = (...all) => {
        configured?.apply(node, all)
        const output = recall(node)
        if (output) show(viewer, output)
    }
    const onStatus = (/** @type {any} */ event) => {
        const { state, text } = event.detail
        if (state === "failed" && nodeOfStatus(event.detail) === node) viewer.fail(text)
    }
    api.addEventListener("apisr.status", onStatus)
    const removed = node.onRemoved
    node.onRemoved = (...all) => {
        api.removeEventListener("apisr.status", onStatus)
        viewer.close()
        return removed?.apply(node, all)
    }
}

function show(viewer, output) {
    const addresses = (/** @type {File[]} */ files) => files.map((file) => api.apiURL(`/view?${new URLSearchParams({ ...file })}`))
    viewer.show(addresses(output.apisr_before ?? []), addresses(output.apisr_after))
}

const storageKey = (node) => `apisr.compare.${rootGraph()?.id}.${node.id}`

/** Keep what is shown for the time after a reload of the page: the files are there until the host restarts. */
function remember(node, output) {
    try {
        const { apisr_before, apisr_after } = output
        sessionStorage.setItem(storageKey(node), JSON.stringify({ apisr_before, apisr_after }))
    } catch {
        // storage is full or forbidden: then it is gone after a reload
    }
}

function recall(node) {
    try {
        return JSON.parse(sessionStorage.getItem(storageKey(node)) ?? "null")
    } catch {
        return null
    }
}
