// Return the strokes and shapes of plots with less contrast than 3:1 to their ground, measured on the pixels of a
// picture of the whole page, in base64.
async (picture) => {
  const LEAST = 3;
  const COLUMNS = 5; // in which a stroke is seen at least
  const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(picture), (one) => one.charCodeAt(0))]));
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const bytes = context.getImageData(0, 0, width, height).data;

  const pixel = (x, y) => {
    const at = 4 * (Math.round(y) * width + Math.round(x));
    return [...bytes.slice(at, at + 3)];
  };
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, by, part) => sum + by * linear(rgb[part] / 255), 0);
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  // Whether a pixel is covered by a colour on a ground for a third at least.
  const isOf = (found, colour, ground) => {
    const way = colour.map((part, at) => part - ground[at]);
    const gone = found.map((part, at) => part - ground[at]);
    const share = way.reduce((sum, part, at) => sum + part * gone[at], 0) / way.reduce((sum, part) => sum + part * part, 0);
    return share > 0.3 && way.every((part, at) => Math.abs(share * part - gone[at]) < 16);
  };
  const colourOf = (element, name) => getComputedStyle(element).getPropertyValue(name).match(/[\d.]+/g).slice(0, 3).map(Number);
  // Boxes are drawn from whole pixels on.
  const areaOf = (element) => {
    const { left, top, width: wide, height: high } = element.getBoundingClientRect();
    return { left: Math.round(left + scrollX), top: Math.round(top + scrollY), wide: Math.ceil(wide), high: Math.ceil(high) };
  };
  // The greatest contrast in each column of an area in which the colour is seen.
  const seen = ({ left, top, wide, high }, colour, ground) =>
    Array.from({ length: wide }, (_, x) =>
      Array.from({ length: high }, (_, y) => pixel(left + x, top + y))
        .filter((found) => isOf(found, colour, ground))
        .reduce((most, found) => Math.max(most, contrast(found, ground)), 0),
    ).filter(Boolean);

  const faint = [];
  for (const plot of document.querySelectorAll("main .plot")) {
    const within = areaOf(plot.querySelector("svg"));
    const ground = pixel(within.left - 2, within.top - 2);
    const legend = plot.previousElementSibling?.querySelectorAll("svg") ?? [];
    const strokes = [...legend].map((one) => [one.parentElement.textContent, colourOf(one, "stroke")]);
    if (!strokes.length) strokes.push(["the only stroke", colourOf(plot.querySelector("g"), "stroke")]);
    for (const [name, colour] of strokes) {
      const found = seen(within, colour, ground).sort((one, other) => one - other);
      const middle = found[found.length >> 1] ?? 0;
      if (found.length < COLUMNS || middle < LEAST) faint.push(`${name}: ${middle} in ${found.length} columns`);
    }
  }
  for (const shape of document.querySelectorAll("main svg :is(rect, line):not(.ground)")) {
    if (!shape.checkVisibility()) continue;
    const frame = areaOf(shape.ownerSVGElement);
    const under = shape.ownerSVGElement.querySelector(".ground");
    const ground = under ? colourOf(under, "fill") : pixel(frame.left + 1, frame.top - 2);
    const isLine = shape.localName === "line";
    const most = Math.max(0, ...seen(isLine ? frame : areaOf(shape), colourOf(shape, isLine ? "stroke" : "fill"), ground));
    if (most < LEAST) faint.push(`${shape.outerHTML}: ${most}`);
  }
  return faint;
}
