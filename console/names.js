// The order of names: guard-9 before guard-10. Made once: a comparison that makes its own takes twenty times as long.
export const byName = new Intl.Collator(undefined, { numeric: true }).compare;
