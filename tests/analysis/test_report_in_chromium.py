"""The report's table, by clicking in headless Chromium: the extra `browser`."""

import csv
import dataclasses
import shutil
import time

import numpy as np
import pytest

from keras_noisy import analysis

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="needs Selenium: the extra `browser`"
)
pytest.importorskip("PIL.Image", reason="needs Pillow")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("needs Chromium and its chromedriver", allow_module_level=True)

N = 130
GIVEN = np.arange(N) % 3
PROPOSED = (GIVEN + 1 + np.arange(N) % 2) % 3
SOFT = np.eye(3)[PROPOSED] * np.linspace(0.9, 0.6, N)[:, None]
SOFT += (1 - SOFT.sum(axis=1, keepdims=True)) / 3
CLASSES = ["cat", "dog", "<b>ship</b>"]
ATTACK = "</script><img src=x onerror=document.title='broken'>"
FORMULAS = ["=1+1", "+1", "-1", "@a", "\t=1", " =1", "\uff1d1", 'a, "b"\nc']
TEXTS = FORMULAS + [f"text {i} {ATTACK}" for i in range(len(FORMULAS), N)]
PRICES = [-1.5, *np.roll(np.arange(N - 1), 40)]


def doubted(labels, soft_labels):
    """Return suspects that are all labels."""
    found = analysis.find_suspects(labels, soft_labels)
    return dataclasses.replace(found, is_suspect=np.ones(len(labels), bool))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def page(folder):
    path = folder / "report.html"
    analysis.write_report(
        path,
        GIVEN,
        suspects=doubted(GIVEN, SOFT),
        images=np.random.default_rng(0).uniform(size=(N, 8, 8)),
        texts=TEXTS,
        names=[f"{i}.png" for i in range(N)],
        table={"price": PRICES, "shop": ["a", None] * (N // 2)},
        class_names=CLASSES,
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def driver(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-dev-shm-usage")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder)}
    )
    service = webdriver.chrome.service.Service(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver, page):
    driver.get(page)
    yield driver
    # Scripts and styles that the policy refused would be here, as well as errors.
    assert driver.get_log("browser") == []


def find(browser, selector):
    return browser.find_element("css selector", selector)


def click(browser, selector):
    find(browser, selector).click()


def rows(browser):
    """Return the texts of the table's cells."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#suspects tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )


def column(browser, name):
    """Return the texts of a column of the page that is shown."""
    heads = [
        e.text for e in browser.find_elements("css selector", "#suspects thead th")
    ]
    at = [head.split("\n")[0] for head in heads].index(name)
    return [row[at] for row in rows(browser)]


def sort(browser, name):
    """Click on a heading, and return how the table is sorted then."""
    path = f"//th[@aria-sort]/button[normalize-space()='{name}']"
    button = browser.find_element("xpath", path)
    button.click()
    return button.find_element("xpath", "..").get_attribute("aria-sort")


def status(browser):
    return find(browser, "#status").text


def choose(browser, name, label):
    for option in browser.find_elements("css selector", f"#{name} option"):
        if option.text.startswith(label):
            option.click()


def download(browser, folder):
    """Click on the button, and return the rows of the file."""
    path = folder / "suspects.csv"
    path.unlink(missing_ok=True)
    click(browser, "#download")
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_all_suspects_are_there(browser):
    assert status(browser) == "130 of 130 suspects, rows 1 to 50"
    assert find(browser, "#page").text == "Page 1 of 3"
    assert column(browser, "example") == [str(i) for i in range(50)]
    pictures = browser.find_elements("css selector", "#suspects img")
    assert len(pictures) == 50
    assert all(int(each.get_property("naturalWidth")) == 8 for each in pictures)
    click(browser, "#next")
    click(browser, "#next")
    assert status(browser) == "130 of 130 suspects, rows 101 to 130"
    assert find(browser, "#next").get_property("disabled")
    click(browser, "#previous")
    assert column(browser, "example")[0] == "50"


def test_sort(browser):
    head = find(browser, "[aria-sort=descending]")
    assert head.text.startswith("confidence")
    assert sort(browser, "price") == "ascending"
    assert column(browser, "price")[:3] == ["-1.5", "0", "1"]
    assert sort(browser, "price") == "descending"
    assert column(browser, "price")[:2] == ["128", "127"]
    assert head.get_attribute("aria-sort") == "none"
    # As numbers, not as texts.
    assert sort(browser, "name") == "ascending"
    assert column(browser, "name")[:3] == ["0.png", "1.png", "2.png"]
    assert sort(browser, "confidence") == "descending"
    assert sort(browser, "confidence") == "ascending"
    assert column(browser, "example")[:2] == ["129", "128"]
    # What is missing comes last, whichever way.
    for _ in range(2):
        sort(browser, "shop")
        assert set(column(browser, "shop")) == {"a"}


def test_filter(browser):
    choose(browser, "given", "dog")
    count = int((GIVEN == 1).sum())
    assert status(browser).startswith(f"{count} of 130 suspects")
    assert set(column(browser, "given label")) == {"dog"}
    choose(browser, "proposed", "cat")
    count = int(((GIVEN == 1) & (PROPOSED == 0)).sum())
    assert status(browser).startswith(f"{count} of 130 suspects")
    click(browser, "#filters [type=reset]")
    find(browser, "#search").send_keys("TEXT 77.PNG")
    assert status(browser) == "1 of 130 suspects, rows 1 to 1"
    find(browser, "#search").send_keys(" no such thing")
    assert status(browser) == "0 of 130 suspects"
    assert find(browser, "#download").get_property("disabled")
    assert rows(browser) == []


def test_the_matrix_filters(browser):
    cell = find(browser, "[data-given='1'][data-proposed='2'] button")
    count = int(((GIVEN == 1) & (PROPOSED == 2)).sum())
    assert cell.text == str(count)
    cell.click()
    assert status(browser).startswith(f"{count} of 130 suspects")
    assert set(column(browser, "proposed label")) == {"<b>ship</b>"}


def test_download(browser, folder):
    head, *lines = download(browser, folder)
    assert head == [
        "sample_id",
        "name",
        "given_label",
        "given_class",
        "proposed_label",
        "proposed_class",
        "confidence",
        "text",
        "price",
        "shop",
    ]
    assert len(lines) == N
    by_name = [dict(zip(head, line, strict=True)) for line in lines]
    for i, line in enumerate(by_name):
        assert line["sample_id"] == str(i)
        assert line["given_label"] == str(GIVEN[i])
        assert line["proposed_class"] == CLASSES[PROPOSED[i]]
    # Numbers stay numbers; what a spreadsheet would run does not.
    assert by_name[0]["price"] == "-1.5"
    texts = [line["text"] for line in by_name]
    assert texts == [f"'{text}" for text in FORMULAS[:-1]] + TEXTS[len(FORMULAS) - 1 :]
    find(browser, "#search").send_keys("text")
    choose(browser, "given", "dog")
    sort(browser, "example")
    sort(browser, "example")
    expected = [i for i in range(N - 1, len(FORMULAS) - 1, -1) if GIVEN[i] == 1]
    assert find(browser, "#download").text == f"Download these {len(expected)} as CSV"
    _, *lines = download(browser, folder)
    assert [int(line[0]) for line in lines] == expected


def test_hostile_texts_stay_texts(browser):
    assert browser.title == "Label noise report"
    assert any(ATTACK in text for text in column(browser, "text"))
    assert not browser.find_elements("css selector", "[src=x], td b")


def test_the_policy_refuses_other_scripts(driver, page):
    driver.get(page)
    driver.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'document.title = \"broken\"';"
        "document.body.append(script);"
    )
    assert driver.title == "Label noise report"
    (entry,) = driver.get_log("browser")
    assert "Content Security Policy" in entry["message"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(browser, width, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {width}")
    paper = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )
    light = min(map(int, paper.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (light > 200) == (scheme == "light")


CONTRASTS = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const over = ([r, g, b, a = 1], below) =>
  [r, g, b].map((value, i) => a * value + (1 - a) * below[i]);
const paper = (element) => {
  if (!element) return [255, 255, 255];
  const own = rgb(getComputedStyle(element).backgroundColor);
  const below = own.length === 3 || own[3] === 1 ? own : paper(element.parentElement);
  return over(own, below);
};
const light = (color) => color.map((value) => value / 255).map((value) =>
  value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
).reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const found = [];
document.querySelectorAll("body *").forEach((element) => {
  const style = getComputedStyle(element);
  const has = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!element.getClientRects().length || element.disabled) return;
  const ground = light(paper(element));
  if (has) found.push([ratio(light(rgb(style.color).slice(0, 3)), ground), 4.5]);
  if (element.matches("#filters input, #filters select, #filters button")) {
    const around = light(paper(element.parentElement));
    found.push([ratio(light(rgb(style.borderTopColor).slice(0, 3)), around), 3]);
  }
});
return found.filter(([value, least]) => value < least).concat([[found.length, 0]]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser, scheme):
    """As WCAG 2.2 (AA) has it: texts 4.5 to 1, edges of controls 3 to 1."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    *too_low, (count, _) = browser.execute_script(CONTRASTS)
    assert count > 200 and not too_low


def test_everything_works_without_a_mouse(browser):
    """By Tab, Enter and the space bar, and one can see where one is."""
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    find(browser, "#search").send_keys("text 77.png", keys.TAB)
    assert status(browser).startswith("1 of 130 suspects")
    reached = []
    for _ in range(20):
        active = browser.switch_to.active_element
        reached.append(active.get_attribute("id") or active.accessible_name)
        outline = active.value_of_css_property("outline-style")
        assert outline != "none", reached[-1]
        active.send_keys(keys.TAB)
        if "name" in reached:
            break
    assert reached[:4] == ["given", "proposed", "Show all", "download"]
    assert "frame" in reached  # The table can be scrolled from there.
    find(browser, "#filters [type=reset]").send_keys(keys.ENTER)
    assert status(browser).startswith("130 of 130 suspects")
    name = browser.find_element("xpath", "//th[@aria-sort]/button[.='name']")
    name.send_keys(keys.SPACE)
    assert column(browser, "name")[:2] == ["0.png", "1.png"]
    find(browser, "#next").send_keys(keys.ENTER)
    assert "rows 51 to 100" in status(browser)
    cell = find(browser, "[data-given='1'][data-proposed='2'] button")
    cell.send_keys(keys.ENTER)
    assert set(column(browser, "given label")) == {"dog"}


def test_long_words_and_texts_stay_in_their_place(driver, folder):
    path = folder / "long.html"
    texts = ["x" * 3000, "A text without an end. " * 400, "short"]
    analysis.write_report(
        path,
        np.zeros(3, int),
        suspects=doubted(np.zeros(3, int), [[0.1, 0.9]] * 3),
        texts=texts,
        names=texts,
        table={"y" * 300: texts},
        class_names=["z" * 200, "A class of many words " * 20],
        findings=["w" * 500],
        title="v" * 300,
    )
    for width in (390, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(path.as_uri())
        root = "document.documentElement"
        assert driver.execute_script(f"return {root}.scrollWidth") <= width
        # A cell of a text shows whole lines, and the rest is scrolled to.
        cell = find(driver, ".words div")
        shown = int(cell.get_property("clientHeight"))
        line = float(cell.value_of_css_property("line-height").removesuffix("px"))
        assert shown % line == 0 and int(cell.get_property("scrollHeight")) > shown
        assert cell.get_property("tabIndex") == 0


def test_without_script(driver, page):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page)
        cards = driver.find_elements("css selector", ".cards li")
        assert len(cards) == 20
        assert "cat → dog" in cards[0].text
        assert "0.png" in cards[0].text
        assert "need JavaScript" in find(driver, "noscript p").text
        assert not find(driver, "#explorer").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_labels_of_the_controls(browser):
    for control in browser.find_elements("css selector", "input, select, button"):
        assert control.accessible_name, control.get_attribute("outerHTML")


def test_twenty_thousand_suspects(driver, folder):
    n = 20_000
    path = folder / "large.html"
    soft = np.tile([0.1, 0.9], (n, 1))
    labels = np.zeros(n, int)
    analysis.write_report(path, labels, suspects=doubted(labels, soft))
    driver.get(path.as_uri())
    assert status(driver) == "20,000 of 20,000 suspects, rows 1 to 50"
    assert len(rows(driver)) == 50
    sort(driver, "example")
    sort(driver, "example")
    assert column(driver, "example")[:2] == ["19999", "19998"]
