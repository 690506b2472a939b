"""Reads a timeline (SVG on standard input) as another program would, and says what it holds.

Prints one line: the accessible title, then how many boxes, numbers and arrows. Ends with an assertion if a box leaves its
row or covers another, a number stands outside its box, or anything stands outside the picture.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

NAMESPACE = "{http://www.w3.org/2000/svg}"
WAITING = "#ececec"


def boxes_of(path):
    """(x, y, width, height) of each rectangle of a path of rectangles."""
    found = re.findall(r"M(\S+) (\S+?)h([\d.]+)v([\d.]+)h-([\d.]+)z", path.get("d"))
    assert "".join(f"M{x} {y}h{w}v{h}h-{b}z" for x, y, w, h, b in found) == path.get("d"), path.get("d")
    return [tuple(float(v) for v in box[:4]) for box in found]


def number_place(text, font):
    """The middle of a number, upright or turned."""
    half = 0.375 * font
    turned = text.get("transform")
    if turned is None:
        return float(text.get("x")), float(text.get("y")) - half
    x, y = re.fullmatch(r"translate\((\S+) (\S+)\)rotate\(-90\)", turned).groups()
    return float(x) - half, float(y)


def main():
    svg = ElementTree.fromstring(sys.stdin.read())
    assert svg.tag == NAMESPACE + "svg"
    titles = list(svg.iter(NAMESPACE + "title"))
    assert len(titles) == 1 and svg[0] is titles[0], "one title, first of all"
    width, height = float(svg.get("width")), float(svg.get("height"))

    rows, boxes, numbers, arrows = [], [], [], 0
    for element in svg:
        if element.tag == NAMESPACE + "path" and "z" in element.get("d") and "h-" in element.get("d"):
            if element.get("fill") == WAITING and not rows:
                rows = boxes_of(element)
            elif min(box[1] for box in boxes_of(element)) <= rows[-1][1]:  # else it belongs to the legend
                boxes += boxes_of(element)
        elif element.tag == NAMESPACE + "path" and element.get("d").endswith("h6z"):
            arrows += 1
        elif element.tag == NAMESPACE + "g":
            numbers += [number_place(text, float(element.get("font-size"))) for text in element]
        elif element.tag == NAMESPACE + "text":
            assert 0 <= float(element.get("x")) <= width and 0 <= float(element.get("y")) <= height, element.text

    for row in rows:
        inside = sorted(box for box in boxes if box[1] == row[1])
        for x, _, w, h in inside:
            assert row[0] <= x and x + w <= row[0] + row[2] + 0.06 and h == row[3], "a box leaves its row"
        for left, right in zip(inside, inside[1:]):
            assert left[0] + left[2] <= right[0] + 0.06, "two boxes cover one another"
    by_row = {row[1]: sorted(box for box in boxes if box[1] == row[1]) for row in rows}
    assert sum(len(row) for row in by_row.values()) == len(boxes), "a box stands in no row"
    for x, y in numbers:
        homes = [b for row, inside in by_row.items() if row <= y <= row + 24 for b in inside if b[0] < x < b[0] + b[2]]
        assert len(homes) == 1, f"a number at {x}, {y} stands in {len(homes)} boxes"
    in_legend = 1 if arrows else 0
    print(f"{titles[0].text} | {len(boxes)} boxes, {len(numbers)} numbers, {arrows - in_legend} arrows")


main()
