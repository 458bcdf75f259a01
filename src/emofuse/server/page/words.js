// How figures are written, and the files to download.

export const percent = (share) => `${Math.round(100 * share)} %`;
export const seconds = (value) => `${value.toFixed(1)} s`;

export function clock(value, mark = ",") {
  const milli = Math.round(value * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const whole = Math.floor(milli / 1000);
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}${mark}${String(milli % 1000).padStart(3, "0")}`;
}

export function srt(segments) {
  const cues = segments.map((one, n) => {
    const said = one.text ? ` ${one.text}` : "";
    const line = `[${one.emotion} ${Math.round(100 * one.confidence)}%]${said}`.replaceAll("-->", "->").split(/\s+/).join(" ");
    return `${n + 1}\n${clock(one.start)} --> ${clock(one.end)}\n${line}\n`;
  });
  return cues.join("\n");
}

export function save(name, text, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
