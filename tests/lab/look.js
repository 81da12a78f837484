// The appearance of the outputs of a page as data: of an open notebook, or of those that the selector finds.
(selector) => {
    const parse = (css) => {
        const parts = css.match(/[\d.]+/g);
        return parts ? [+parts[0], +parts[1], +parts[2], parts.length > 3 ? +parts[3] : 1] : [0, 0, 0, 0];
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
    // The color behind an element: its ancestors' translucent backgrounds, blended.
    const behind = (element) => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            layers.push(parse(getComputedStyle(e).backgroundColor));
            if (layers[layers.length - 1][3] === 1) break;
        }
        return layers.reduceRight((below, top) => over(top, below), [255, 255, 255]);
    };
    const luminance = (color) => {
        const [r, g, b] = color.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
        const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (light + 0.05) / (dark + 0.05);
    };
    const ownText = (element) =>
        [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());

    const outputs = [...document.querySelectorAll(selector ?? '.jp-CodeCell .jp-OutputArea-output')];
    // Folded outputs are included.
    const folded = [...document.querySelectorAll('details:not([open])')];
    folded.forEach((details) => { details.open = true; });
    const find = (selector) => outputs.flatMap((output) => [...output.querySelectorAll(selector)]);
    const images = find('img');
    const faint = find('.jp-RenderedHTMLCommon *, .output *')
        .filter((element) => ownText(element) && !element.closest('svg') && element.getClientRects().length)
        .map((element) => {
            const ground = behind(element);
            const color = parse(getComputedStyle(element).color);
            for (let e = element; e && !outputs.includes(e); e = e.parentElement) {
                color[3] *= +getComputedStyle(e).opacity;
            }
            const ink = over(color, ground);
            return { text: element.textContent.trim().slice(0, 40), contrast: contrast(ink, ground) };
        })
        // Bars drawn with block elements are pictures, which need less than text (WCAG 1.4.11).
        .filter((found) => found.contrast < (/^[\u2580-\u259f]+$/.test(found.text) ? 3 : 4.5));
    const charts = outputs.filter((output) => output.matches('.jp-RenderedVegaCommon5') || output.querySelector('.vega-embed'));
    const drawn = (chart) => [...chart.querySelectorAll('canvas, svg, img')].some((e) => e.getBoundingClientRect().width > 50);
    const empty = outputs.filter((output) => {
        const { width, height } = output.getBoundingClientRect();
        return output.textContent.trim() !== '' && (width < 1 || height < 1);
    });
    const width = () => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
    const seen = {
        types: outputs.map((output) => output.getAttribute('data-mime-type')),
        tables: find('table').length,
        pictures: images.filter((image) => image.naturalWidth > 0).length + find('svg').length,
        broken: images.filter((image) => image.complete && !image.naturalWidth).length,
        faint: faint.slice(0, 10),
        charts: charts.length,
        undrawn: charts.filter((chart) => !drawn(chart)).length,
        empty: empty.map((output) => output.textContent.trim().slice(0, 40)),
        overflow: width() - window.innerWidth,
    };
    folded.forEach((details) => { details.open = false; });
    return seen;
}
