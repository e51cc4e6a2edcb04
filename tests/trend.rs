//! Three nights as one data set: the page's trend has the shares, quantiles and drift that DuckDB finds in
//! the tables.

mod support;

use support::run::{Folder, filo, python, run};

const NIGHTS: [&str; 3] = ["2026-11-24", "2026-11-25", "2026-11-26"];

/// Reads the tables of the page and computes each figure from the runs' own tables.
const COMPARE: &str = r#"
import sys, duckdb, numpy
from html.parser import HTMLParser

class Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.cell, self.name, self.inside = [], None, "all", False
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "h3":
            self.cell = []
        if tag == "table" and "nights" in attrs.get("class", ""):
            self.tables.append((self.name, []))
            self.inside = True
        if self.inside and tag == "tr":
            self.tables[-1][1].append([])
        if self.inside and tag in ("td", "th"):
            self.cell = []
    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)
    def handle_endtag(self, tag):
        if tag == "h3":
            self.name, self.cell = "".join(self.cell), None
        if self.inside and tag in ("td", "th"):
            self.tables[-1][1][-1].append("".join(self.cell).strip())
            self.cell = None
        if tag == "table":
            self.inside = False

tables = Tables()
tables.feed(open(sys.argv[1]).read())
rows = f"""SELECT * FROM read_parquet('{sys.argv[2]}/*/scores/**/*.parquet',
  hive_types = {{'run_date': DATE, 'category': VARCHAR}})"""
# Of an image the newest row counts.
rows = f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY category, image_id ORDER BY run_date DESC) = 1"
dates = [str(date) for date, in duckdb.sql(f"SELECT DISTINCT run_date FROM ({rows}) ORDER BY 1").fetchall()]

def psi(before, after):
    """Over tenths of the first; half a score is added to each share."""
    before, after = numpy.sort(before), numpy.sort(after)
    edges = sorted({before[min(-(-i * len(before) // 10), len(before) - 1)] for i in range(1, 10)})
    def shares(scores):
        counts = numpy.histogram(scores, [-numpy.inf, *edges, numpy.inf])[0] + 0.5
        return counts / counts.sum()
    p, q = shares(before), shares(after)
    return float(((q - p) * numpy.log(q / p)).sum())

checked = 0
for name, table in tables.tables:
    head, *lines = table
    assert [line[0] for line in lines] == dates, lines
    of = rows if name == "all" else f"SELECT * FROM ({rows}) WHERE category = '{name}'"
    first = None
    for line in lines:
        found = duckdb.sql(f"""SELECT count(*), count(*) FILTER (is_anomalous),
          quantile_cont(score::DOUBLE, [0.1, 0.5, 0.9]), list(score)
          FROM ({of}) WHERE run_date = '{line[0]}'""").fetchall()[0]
        n, flagged, quantiles, scores = found
        assert [int(line[1]), int(line[2])] == [n, flagged], (line, found)
        assert line[3] == f"{100 * flagged / n:.2f} %", (line, found)
        checked += 3
        if name == "all":
            assert len(line) == 4, line
            continue
        assert all(abs(float(ours) - theirs) <= 0.00005 + 1e-9 for ours, theirs in zip(line[4:7], quantiles)), (line, quantiles)
        checked += 3
        if first is None:
            first = scores
            assert line[7] == "–", line
        else:
            expected = psi(numpy.array(first, dtype=numpy.float32), numpy.array(scores, dtype=numpy.float32))
            assert abs(float(line[7]) - expected) <= 0.0005 + 1e-9, (line, expected)
            checked += 1
print(len(tables.tables), "tables,", checked, "figures agree")
"#;

#[test]
fn three_nights_are_as_duckdb_finds_them() {
    let folder = Folder::new();
    for (night, date) in NIGHTS.iter().enumerate() {
        for i in 0..12 + 6 * night as u32 {
            for category in ["bolt", "nut"] {
                // Later nights have larger images, whose scores are others.
                let size = 30 + 11 * night as u32 + i % 7;
                folder.picture(&format!("in/{category}/{night}/{i}.png"), size, 40 + i);
            }
        }
        let mut command = filo("score");
        command.arg("--input").arg(folder.path("in"));
        command.arg("--output").arg(folder.path(&format!("runs/{date}")));
        command.args(["--weights", support::run::WEIGHTS, "--run-date", date]);
        command.args(["--reference", "none", "--threshold", "0.0005", "--layout", "folder"]);
        // The last night scores two images of the first again.
        if night == 2 {
            command.args(["--include", "*/2/*", "--include", "*/0/3.png"]);
        } else {
            command.arg("--include").arg(format!("*/{night}/*"));
        }
        run(command).last_line();
    }
    let mut report = filo("report");
    report.arg("--run").arg(folder.path("runs")).arg("--out").arg(folder.path("r.html"));
    run(report).last_line();
    let said = python(|command| {
        command.args(["-c", COMPARE]).arg(folder.path("r.html")).arg(folder.path("runs"));
    });
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.trim_end(), "3 tables, 49 figures agree");

    // In a browser, as any other page.
    let html = std::fs::read_to_string(folder.path("r.html")).unwrap();
    assert!(html.contains("href=\"#trend\"") && html.matches("PSI").count() >= 2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/page_test.py");
    let used = support::run::python_of("FILO_PAGE_PYTHON", |command| {
        command.arg(script).arg(folder.path("r.html"));
    });
    let said = String::from_utf8_lossy(&used.stdout);
    assert!(said.contains("as it should be"), "{said}");
}
