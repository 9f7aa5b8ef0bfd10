/**
 * The browser side of the pack: texts on its nodes, labels in the model list, downloads, and the comparison.
 *
 * Without it all nodes work: the server then shows its texts by the host's own means, and the model list shows names of
 * files.
 */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { addComparison } from "./lib/compare.mjs"
import { supplyDemoFiles } from "./lib/demo.mjs"
import { Faces } from "./lib/faces.mjs"
import { keepSignedIn } from "./lib/language.mjs"
import { loadLabels, refreshModels, showLabels } from "./lib/models.mjs"

const MILLISECONDS_BETWEEN_LOOKS = 300

/** Nodes with a text below their inputs. */
const WITH_TEXT = ["APISRModelLoader", "APISRUpscale", "APISRQuickUpscale", "APISRUpscaleVideo", "APISRContactSheet"]
const WITH_MODEL_LIST = ["APISRModelLoader", "APISRQuickUpscale"]

const faces = new Faces()

app.registerExtension({
    name: "ComfyUI-APISR.face",

    async init() {
        await loadLabels()
    },

    setup() {
        faces.listen()
        api.addEventListener("reconnected", () => {
            keepSignedIn({ again: true })
            faces.forget()
        })
        // What a text depends on may change anywhere in the graph, so it is looked at, not listened for.
        setInterval(() => {
            if (document.hidden) return
            keepSignedIn()
            faces.look()
        }, MILLISECONDS_BETWEEN_LOOKS)
    },

    async beforeConfigureGraph(graphData) {
        await supplyDemoFiles(graphData)
    },

    nodeCreated(node) {
        if (WITH_MODEL_LIST.includes(node.comfyClass)) showLabels(node)
        if (WITH_TEXT.includes(node.comfyClass)) faces.add(node)
        if (node.comfyClass === "APISRCompare") addComparison(node)
    },

    refreshComboInNodes() {
        refreshModels()
    },
})
