// Words for what the server names by codes: one catalogue. A code that is not in it is shown in sentence case too.
const TYPES = {
  PANIC: "Panic", SOS: "SOS", DURESS: "Duress", MEDICAL: "Medical emergency", FIRE: "Fire", MAN_DOWN: "Man down", CHECK_IN_MISSED: "Check-in missed",
  INTRUSION: "Intrusion", GEOFENCE_VIOLATION: "Geofence violation", PATROL_MISSED: "Patrol missed", PATROL_INCOMPLETE: "Patrol incomplete",
  EQUIPMENT_FAILURE: "Equipment failure", TAMPER: "Tamper", LOW_BATTERY: "Low battery", OFFLINE: "Offline", UNREADABLE_ALERT: "Unreadable alert",
  REPORTED: "Reported incident", UNKNOWN: "Unknown alert",
};
const SEVERITIES = { CRITICAL: "Critical", HIGH: "High", MEDIUM: "Medium", LOW: "Low" };
const STATUSES = { NEW: "New", ACKNOWLEDGED: "Acknowledged", IN_PROGRESS: "In progress", RESOLVED: "Resolved", FALSE_ALARM: "False alarm" };
const ACTIONS = {
  raised: "Raised", repeated: "Sent again", re_raised: "Raised again", acknowledged: "Acknowledged", started: "On the way", resolved: "Resolved",
  false_alarm: "False alarm", assigned: "Assigned", noted: "Note", shelved: "Shelved", unshelved: "Off the shelf", grouped: "Part of a storm",
  escalated: "Notifications sent", notified: "Notified", not_notified: "Not notified", cleared: "Condition over",
};
const ACTORS = { rule: "Rule", vigil: "Vigil" };
const FLAGS = {
  unknown_source: "Unknown source", source_disabled: "Source disabled", off_shift: "Off shift", identity_mismatch: "Identity mismatch", seen_before: "Perhaps seen before",
  severity: "Unknown severity", severity_claim: "Lower severity claimed", refused: "Refused", unreadable: "Unreadable", location: "Unreadable location", timestamp: "Time not believed",
  timestamp_offset: "Time without an offset", raw_unstorable: "Kept as bytes", msg_id_reused: "Message id used before", broken_json: "Broken JSON",
  too_many_values: "Too many values", poison: "Stopped the gateway, kept unread",
};

const sentence = (code) => {
  const words = String(code).replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
};
const lookUp = (words) => (code) => (Object.hasOwn(words, code) ? words[code] : sentence(code));

export const typeWord = lookUp(TYPES);
export const severityWord = lookUp(SEVERITIES);
export const statusWord = lookUp(STATUSES);
export const actionWord = lookUp(ACTIONS);
// "received_after_outage:A/B": it reached the broker at some time between A and B; A is empty when nobody knows it.
const AFTER_OUTAGE = /^received_after_outage:([^/]*)\/([^/]*)$/;
export const flagWord = (code) => {
  const outage = AFTER_OUTAGE.exec(code);
  return outage ? `Received after an outage of the gateway (from ${outage[1] || "an unknown time"} to ${outage[2]})` : lookUp(FLAGS)(code);
};
export const actorWord = (by) => (Object.hasOwn(ACTORS, by) ? ACTORS[by] : by);

const within = (word) => (word === word.toUpperCase() ? word : word.charAt(0).toLowerCase() + word.slice(1));

// "Critical panic of guard-7", "Low battery of guard-7".
export const graveTitle = (alert) => `${severityWord(alert.severity)} ${within(typeWord(alert.alert_type))}`;
export const title = (alert) => `${typeWord(alert.alert_type)} of ${alert.source_id}`;

// What the banner says while alarms may not come: first what to do, for somebody who reads it at three in the morning.
const CALL_GUARDS = ["Do not trust a quiet screen. Call every guard on shift by radio or telephone, now and every 15 minutes.", "Take alarms by telephone. Write down who, where and when."];
const CALL_HELP = "Call the person on call for Vigil, and read out what stands below.";
export const blindWords = {
  screen: (time) => ({
    headline: `This screen may be blind since ${time}: new alarms may not show here.`,
    steps: ["Look at another screen. If it is blind too, go on:", ...CALL_GUARDS, CALL_HELP],
    reasons: ["This screen has heard nothing from Vigil since then. It connects again by itself."],
  }),
  alarms: (time, reasons) => ({ headline: `Vigil may be blind since ${time}: new alarms may not show here.`, steps: [...CALL_GUARDS, CALL_HELP], reasons }),
  partly: (time, reasons) => ({ headline: `Vigil works only in part since ${time}. New alarms still show here.`, steps: [CALL_HELP], reasons }),
  again: (time, length) => `Vigil sees again since ${time}. It was blind for ${length}. Alarms of that time come now: read the open alerts, and call the guards back.`,
  lost: (time) => `The link is lost. ${time === null ? "Nothing was heard yet" : `What you see is from ${time}`}. It comes back by itself.`,
};
