/** The model list: labels for names of files, and what there is to know about each entry. */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { language } from "./language.mjs"

/**
 * @typedef {object} Entry
 * @property {string} name the value in the list
 * @property {string} good_for
 * @property {string | null} id what to download it by
 * @property {boolean} present
 * @property {boolean} downloading
 * @property {string[]} lines
 */

/** @type {Map<string, Map<string, string>>} labels by name, by language */
const labels = new Map()
/** @type {Map<string, Entry | null>} by language and name; null while it is asked for */
const entries = new Map()

/** Ask again for everything: files may have come or gone. */
export function refreshModels() {
    loadLabels()
    entries.clear()
}

/**
 * Show labels instead of names of files in the list of a node. Its values stay names of files.
 * @param {any} node
 */
export function showLabels(node) {
    const widget = node.widgets?.find((each) => each.name === "model_name")
    if (widget) widget.options.getOptionLabel = (value) => labelOf(value)
}

function labelOf(value) {
    const known = labels.get(language())
    if (!known) loadLabels()
    return known?.get(value) ?? value ?? ""
}

/** Load the labels in the UI's language. Vue nodes look at labels once, so they must be there before the first node. */
export async function loadLabels() {
    const now = language()
    if (!labels.has(now)) labels.set(now, new Map()) // they are asked for once
    try {
        labels.set(now, new Map((await fetchModels({ language: now })).map(({ name, label }) => [name, label])))
        app.graph?.setDirtyCanvas?.(true, true)
    } catch {
        if (!labels.get(now)?.size) labels.delete(now) // the server is away: at the next look
    }
}

/**
 * What there is to know about an entry; undefined until it is known.
 * @param {string} name
 */
export function entryOf(name) {
    const now = language()
    const key = `${now} ${name}`
    if (!entries.has(key)) {
        entries.set(key, null)
        fetchModels({ language: now, name })
            .then(([entry]) => entries.set(key, entry))
            .catch(() => entries.delete(key))
    }
    return entries.get(key) ?? undefined
}

/** @returns {Promise<any[]>} labels of all entries, or one `Entry` for a query with a name */
async function fetchModels(query) {
    const response = await api.fetchApi(`/apisr/models?${new URLSearchParams(query)}`)
    if (!response.ok) throw new Error(response.statusText)
    return (await response.json()).models
}

/**
 * Start or stop a download. Its progress comes as events "apisr.download".
 * @param {"download" | "cancel"} what
 * @param {string} id
 */
export async function askFor(what, id) {
    const response = await api.fetchApi(`/apisr/${what}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ id }),
    })
    if (!response.ok) throw new Error(await response.text())
}
