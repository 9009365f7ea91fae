/**
 * Stores that outlive a page: for the option `storage` of `createMaru`. A store is of one user: name it after the user.
 *
 * @typedef {object} Store texts by key; every call may answer with a promise
 * @property {string} name tells one store from another, for the locks between tabs
 * @property {() => string[]|Promise<string[]>} keys
 * @property {(key: string) => string|null|Promise<string|null>} get
 * @property {(key: string, value: string) => void|Promise<void>} set
 * @property {(key: string) => void|Promise<void>} remove
 */

/** In `localStorage`: what is sent is kept before `send` returns. @param {string} name @returns {Store} */
export function localStore(name, area = globalThis.localStorage) {
  const prefix = `maru:${name}:`;
  return {
    name,
    keys: () => ownKeys(Object.keys(area), prefix),
    get: (key) => area.getItem(prefix + key),
    set: (key, value) => area.setItem(prefix + key, value),
    remove: (key) => area.removeItem(prefix + key),
  };
}

/** In IndexedDB: has room for more, and is kept some milliseconds after `send` returns. @param {string} name @returns {Store} */
export function indexedDbStore(name, factory = globalThis.indexedDB) {
  /** @type {Promise<IDBDatabase>|null} */ let opened = null;
  const open = () =>
    (opened ??= new Promise((resolve, reject) => {
      const request = factory.open(`maru:${name}`, 1);
      request.onupgradeneeded = () => void request.result.createObjectStore("texts");
      request.onsuccess = () => {
        request.result.onclose = () => (opened = null); // by the browser
        resolve(request.result);
      };
      request.onerror = () => {
        opened = null; // the next call tries again
        reject(request.error);
      };
    }));
  /** @template T @param {IDBTransactionMode} mode @param {(texts: IDBObjectStore) => IDBRequest<T>} run @returns {Promise<T>} */
  const ask = async (mode, run) => {
    const transaction = (await open()).transaction("texts", mode);
    const request = run(transaction.objectStore("texts"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  };
  return {
    name,
    keys: async () => (await ask("readonly", (texts) => texts.getAllKeys())).map(String),
    get: async (key) => (await ask("readonly", (texts) => texts.get(key))) ?? null,
    set: async (key, value) => void (await ask("readwrite", (texts) => texts.put(value, key))),
    remove: async (key) => void (await ask("readwrite", (texts) => texts.delete(key))),
  };
}

/**
 * In React Native's AsyncStorage, or whatever has the same four methods.
 * @param {string} name
 * @param {{getAllKeys: () => Promise<readonly string[]>, getItem: (key: string) => Promise<string|null>,
 *          setItem: (key: string, value: string) => Promise<void>, removeItem: (key: string) => Promise<void>}} area
 * @returns {Store}
 */
export function asyncStore(name, area) {
  const prefix = `maru:${name}:`;
  return {
    name,
    keys: async () => ownKeys(await area.getAllKeys(), prefix),
    get: (key) => area.getItem(prefix + key),
    set: (key, value) => area.setItem(prefix + key, value),
    remove: (key) => area.removeItem(prefix + key),
  };
}

/** In memory: for tests. Clients that share `texts` are tabs of one browser. @returns {Store} */
export function memoryStore(name = "memory", /** @type {Map<string, string>} */ texts = new Map()) {
  return {
    name,
    keys: () => [...texts.keys()],
    get: (key) => texts.get(key) ?? null,
    set: (key, value) => void texts.set(key, value),
    remove: (key) => void texts.delete(key),
  };
}

/** @param {readonly string[]} keys @param {string} prefix */
function ownKeys(keys, prefix) {
  return keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
}
