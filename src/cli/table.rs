//! The metrics table as text, CSV and JSON. Rows in, a string out.

use crate::tables::{CategoryMetrics, MetricsRow};

/// Headings and values of the metric columns, in the order in which papers print them.
fn metrics(row: &MetricsRow) -> [(&'static str, Option<f64>); 7] {
    [
        ("image_auroc", row.image_auroc),
        ("image_ap", row.image_ap),
        ("image_f1max", row.image_f1max),
        ("pixel_auroc", row.pixel_auroc),
        ("pixel_ap", row.pixel_ap),
        ("pixel_f1max", row.pixel_f1max),
        ("aupro", row.aupro),
    ]
}

/// Aligned columns, metrics in percent; `–` where one is not defined.
pub fn text(rows: &[CategoryMetrics]) -> String {
    let mut lines = vec![vec!["category".to_string(), "images".into(), "anomalous".into()]];
    lines[0].extend(metrics(&MetricsRow::default()).map(|(name, _)| name.replace('_', " ")));
    for CategoryMetrics { category, row } in rows {
        let mut line =
            vec![category.clone(), row.n_images.to_string(), row.n_anomalous.to_string()];
        line.extend(metrics(row).map(|(_, value)| {
            value.map_or("–".to_string(), |value| format!("{:.1}", 100.0 * value))
        }));
        lines.push(line);
    }
    aligned(&lines)
}

/// Lines of cells, the first column left-aligned, the others right-aligned. All lines have as many
/// cells as the first.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut out = String::new();
    for line in lines {
        for (c, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let gap = if c == 0 { "" } else { "  " };
            let (before, after) =
                if c == 0 { ("", padding.as_str()) } else { (padding.as_str(), "") };
            out.push_str(&format!("{gap}{before}{cell}{after}"));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// A header and one line per row, full precision; empty where a metric is not defined.
pub fn csv(rows: &[CategoryMetrics]) -> String {
    let names = metrics(&MetricsRow::default()).map(|(name, _)| name).join(",");
    let mut out = format!("category,n_images,n_anomalous,{names},protocol\n");
    for CategoryMetrics { category, row } in rows {
        let values =
            metrics(row).map(|(_, value)| value.map_or(String::new(), |value| value.to_string()));
        let quoted = format!("\"{}\"", category.replace('"', "\"\""));
        out.push_str(&format!(
            "{quoted},{},{},{},{}\n",
            row.n_images,
            row.n_anomalous,
            values.join(","),
            row.protocol
        ));
    }
    out
}

/// One document: `{"metrics": [{category, n_images, …}]}`.
pub fn json(rows: &[CategoryMetrics]) -> String {
    let row_json = |CategoryMetrics { category, row }: &CategoryMetrics| {
        let mut object = serde_json::Map::new();
        object.insert("category".into(), category.clone().into());
        object.insert("n_images".into(), row.n_images.into());
        object.insert("n_anomalous".into(), row.n_anomalous.into());
        for (name, value) in metrics(row) {
            object.insert(name.into(), value.into());
        }
        object.insert("protocol".into(), row.protocol.clone().into());
        serde_json::Value::Object(object)
    };
    let rows = rows.iter().map(row_json).collect::<Vec<_>>();
    format!("{:#}\n", serde_json::json!({ "metrics": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [CategoryMetrics; 1] {
        let row = MetricsRow {
            n_images: 12,
            n_anomalous: 3,
            image_auroc: Some(0.98765),
            protocol: "exact".into(),
            ..MetricsRow::default()
        };
        [CategoryMetrics { category: "metal_nut".into(), row }]
    }

    #[test]
    fn columns_line_up_and_gaps_show() {
        let text = text(&rows());
        let lines = text.lines().collect::<Vec<_>>();
        assert!(lines[0].starts_with("category   images  anomalous  image auroc"), "{text}");
        assert!(lines[1].starts_with("metal_nut      12          3         98.8"), "{text}");
        assert!(lines[1].ends_with('–'));
    }

    #[test]
    fn csv_and_json_keep_full_precision() {
        assert!(csv(&rows()).contains("\"metal_nut\",12,3,0.98765,,"));
        let document: serde_json::Value = serde_json::from_str(&json(&rows())).unwrap();
        assert_eq!(document["metrics"][0]["image_auroc"], 0.98765);
        assert!(document["metrics"][0]["aupro"].is_null());
    }
}
