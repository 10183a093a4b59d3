// Dark or light: as the computer is set, or as chosen here.
const KEPT = "vigil.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export const theme = new EventTarget();

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "dark" || (chosen !== "light" && dark.matches);
};

export function startTheme(select) {
  select.value = localStorage.getItem(KEPT) ?? "auto";
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    theme.dispatchEvent(new Event("changed"));
  };
  select.addEventListener("change", () => {
    localStorage.setItem(KEPT, select.value);
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}
