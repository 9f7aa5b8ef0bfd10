/** The language of the UI, texts in it, and telling the server about both. */

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

/** @type {Promise<Record<string, any>> | undefined} */
let translations
let loaded = /** @type {Record<string, any>} */ ({})
let signedInAs = ""
let retryAt = 0 // the server was away, or refused

const MILLISECONDS_TO_RETRY = 5000

/** The name of the UI's language, like "en" or "zh-TW". */
export function language() {
    return app.extensionManager?.setting?.get("Comfy.Locale") ?? "en"
}

/**
 * A text of `locales/<language>/main.json`, in English if it is not translated.
 * @param {string} key
 * @param {Record<string, string | number>} [values] for the places in braces
 */
export function say(key, values = {}) {
    const text = loaded[language()]?.apisr?.[key] ?? loaded.en?.apisr?.[key] ?? key
    return text.replace(/\{(\w+)\}/g, (/** @type {string} */ place, /** @type {string} */ name) => values[name] ?? place)
}

/** Load the texts once. */
export function loadTexts() {
    translations ??= api
        .fetchApi("/i18n")
        .then((response) => response.json())
        .then((all) => (loaded = all))
        .catch(() => (loaded = {}))
    return translations
}

/**
 * Tell the server that this page shows statuses itself, and in which language: once, and again when the language or
 * the connection has changed.
 * @param {{again?: boolean}} [options] again: the server may have restarted, and forgotten us
 */
export function keepSignedIn({ again = false } = {}) {
    const now = JSON.stringify({ client_id: api.clientId, language: language() })
    const isDone = now === signedInAs && !again && (!retryAt || Date.now() < retryAt)
    if (!api.clientId || isDone) return
    signedInAs = now
    retryAt = 0
    loadTexts()
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: now }
    api.fetchApi("/apisr/client", options).then(
        (response) => {
            if (!response.ok) retryAt = Date.now() + MILLISECONDS_TO_RETRY
        },
        () => (retryAt = Date.now() + MILLISECONDS_TO_RETRY),
    )
}
