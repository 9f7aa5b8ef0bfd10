/** What the server is asked about a node before it runs: everything that the answer depends on, as one query. */

import { sizeOfInput, sourceOf, valueOf } from "./graph.mjs"
import { language } from "./language.mjs"

const MODEL_LOADERS = ["APISRModelLoader", "UpscaleModelLoader"]
const NOT_ASKED = ["model_name", "codec", "quality", "bit_depth", "tolerance", "reuse_frames", "cpu_fallback"]

/**
 * @param {any} node one of our upscale nodes
 * @param {(node: any) => import("./graph.mjs").Size | undefined} ofOurs the size of the results of our own nodes
 */
export function queryOf(node, ofOurs) {
    const query = new URLSearchParams({ node: node.comfyClass, language: language() })
    const loader = node.comfyClass === "APISRQuickUpscale" ? node : sourceOf(node, "upscale_model")?.node
    if (loader === node || MODEL_LOADERS.includes(loader?.type)) {
        setFrom(query, loader, "model", "model_name")
        if (loader.type === "APISRModelLoader") for (const name of ["precision", "device"]) setFrom(query, loader, name, name)
        if (loader.type === "UpscaleModelLoader") query.set("precision", "fp32") // it loads nothing else
    }
    const size = sizeOfInput(node, node.comfyClass === "APISRUpscaleVideo" ? "video" : "image", ofOurs)
    for (const [name, value] of Object.entries(size ?? {})) if (value !== undefined) query.set(name, String(value))
    if (sourceOf(node, "mask")) query.set("channels", "4")
    for (const widget of node.widgets ?? []) {
        if (widget.serialize === false || NOT_ASKED.includes(widget.name) || !isPlain(widget.value)) continue
        setFrom(query, node, widget.name, widget.name)
    }
    return query.toString()
}

/** @param {unknown} value */
export const isPlain = (value) => ["string", "number", "boolean"].includes(typeof value)

function setFrom(query, node, key, name) {
    const widget = node.widgets?.find((each) => each.name === name)
    if (!widget) return
    const { value, known } = valueOf(node, widget)
    if (known && isPlain(value)) query.set(key, String(value))
    else query.append("unknown", key)
}
