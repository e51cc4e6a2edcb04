//! The kinds of surfaces, their names, their usual colours, and what can be wrong with them.

use super::defect::Defect;

macro_rules! surfaces {
    ($($kind:ident $name:literal,)*) => {
        /// What an image shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Surface { $($kind,)* }

        impl Surface {
            pub const ALL: [Surface; [$($name),*].len()] = [$(Surface::$kind),*];

            /// The category's folder; with spaces for underscores, its words in a prompt.
            pub fn as_str(self) -> &'static str {
                match self { $(Surface::$kind => $name,)* }
            }
        }
    };
}

surfaces! {
    BrushedMetal "brushed_metal",
    CastMetal "cast_metal",
    RolledSteel "rolled_steel",
    GroundMetal "ground_metal",
    FerritePlate "ferrite_plate",
    PaintedMetal "painted_metal",
    GalvanizedSheet "galvanized_sheet",
    PerforatedSheet "perforated_sheet",
    Ceramic "ceramic",
    CeramicTile "ceramic_tile",
    Concrete "concrete",
    Asphalt "asphalt",
    Granite "granite",
    Marble "marble",
    Brick "brick",
    Gravel "gravel",
    Weave "weave",
    Twill "twill",
    Knit "knit",
    Carpet "carpet",
    WireMesh "wire_mesh",
    Wood "wood",
    Leather "leather",
    Cork "cork",
    Paper "paper",
    Grass "grass",
    SolarCell "solar_cell",
    SiliconWafer "silicon_wafer",
    CircuitBoard "circuit_board",
    Plastic "plastic",
    Rubber "rubber",
    Foam "foam",
    Glass "glass",
    PrintedPattern "printed_pattern",
    PrintedLabel "printed_label",
    MachinedPart "machined_part",
    ScrewPlate "screw_plate",
    PillPack "pill_pack",
    TexturedSurface "textured_surface",
}

use Defect as D;

/// What happens to any surface.
const ANYWHERE: [Defect; 9] = [
    D::Scratch,
    D::Crack,
    D::Hole,
    D::Stain,
    D::Contamination,
    D::ForeignMaterial,
    D::Discoloration,
    D::Thread,
    D::Smear,
];
const METAL: &[Defect] = &[
    D::Pore,
    D::Dent,
    D::Bump,
    D::Corrosion,
    D::Abrasion,
    D::UnevenTexture,
    D::Break,
    D::Chip,
    D::Fray,
    D::Cut,
    D::Peeling,
];
const STONE: &[Defect] =
    &[D::Pore, D::Chip, D::Break, D::Dent, D::Abrasion, D::UnevenTexture, D::Peeling, D::DarkArea];
const CLOTH: &[Defect] = &[
    D::BrokenThread,
    D::Fray,
    D::Cut,
    D::Deformation,
    D::Wrinkle,
    D::UnevenTexture,
    D::Burn,
    D::Abrasion,
];
const GROWN: &[Defect] =
    &[D::Cut, D::Dent, D::Burn, D::Wrinkle, D::Abrasion, D::Fray, D::Peeling, D::UnevenTexture];
const SILICON: &[Defect] =
    &[D::DarkArea, D::Chip, D::Break, D::Pore, D::Abrasion, D::Burn, D::UnevenTexture];
const POLYMER: &[Defect] = &[
    D::Dent,
    D::Bump,
    D::Cut,
    D::Pore,
    D::Abrasion,
    D::Wrinkle,
    D::Burn,
    D::Chip,
    D::UnevenTexture,
];
const PRINTED: &[Defect] = &[
    D::Misprint,
    D::MissingPart,
    D::Misplaced,
    D::Deformation,
    D::Cut,
    D::Wrinkle,
    D::Peeling,
    D::Abrasion,
];
const PARTS: &[Defect] = &[
    D::MissingPart,
    D::Misplaced,
    D::Dent,
    D::Chip,
    D::Break,
    D::Corrosion,
    D::Pore,
    D::Abrasion,
    D::Cut,
];
const LOOSE: &[Defect] = &[D::UnevenTexture, D::Burn, D::DarkArea];

impl Surface {
    /// The defects that this surface can have.
    pub fn defects(self) -> Vec<Defect> {
        let own: &[Defect] = match self {
            Surface::BrushedMetal
            | Surface::CastMetal
            | Surface::RolledSteel
            | Surface::GroundMetal
            | Surface::FerritePlate
            | Surface::PaintedMetal
            | Surface::GalvanizedSheet => METAL,
            Surface::Ceramic
            | Surface::CeramicTile
            | Surface::Concrete
            | Surface::Asphalt
            | Surface::Granite
            | Surface::Marble
            | Surface::Brick
            | Surface::TexturedSurface => STONE,
            Surface::Weave | Surface::Twill | Surface::Knit | Surface::Carpet => CLOTH,
            Surface::WireMesh => &[D::BrokenThread, D::Deformation, D::Corrosion, D::Burn],
            Surface::Wood | Surface::Leather | Surface::Cork | Surface::Paper => GROWN,
            Surface::Grass | Surface::Gravel => LOOSE,
            Surface::SolarCell => SILICON,
            Surface::SiliconWafer => {
                &[D::DarkArea, D::Chip, D::Break, D::Misprint, D::Abrasion, D::Deformation]
            }
            Surface::CircuitBoard => {
                &[D::MissingPart, D::Misplaced, D::Cut, D::Burn, D::Corrosion, D::Misprint]
            }
            Surface::Plastic | Surface::Rubber | Surface::Foam => POLYMER,
            Surface::Glass => &[D::Chip, D::Bump, D::Abrasion, D::Break, D::Pore],
            Surface::PrintedPattern | Surface::PrintedLabel => PRINTED,
            Surface::PerforatedSheet
            | Surface::MachinedPart
            | Surface::ScrewPlate
            | Surface::PillPack => PARTS,
        };
        let mut all = ANYWHERE.to_vec();
        all.extend_from_slice(own);
        all
    }

    /// Whether the surface has little texture of its own: what easy images show.
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Surface::BrushedMetal
                | Surface::RolledSteel
                | Surface::GroundMetal
                | Surface::FerritePlate
                | Surface::PaintedMetal
                | Surface::Ceramic
                | Surface::Paper
                | Surface::Plastic
                | Surface::Glass
                | Surface::Weave
                | Surface::SolarCell
        )
    }

    /// Whether images often show its border and what is behind: small parts do.
    pub fn is_often_framed(self) -> bool {
        matches!(
            self,
            Surface::FerritePlate
                | Surface::GroundMetal
                | Surface::CastMetal
                | Surface::Ceramic
                | Surface::SiliconWafer
                | Surface::Wood
        )
    }

    /// Usual hue in turns and saturation; `None`: any.
    pub fn tint(self) -> Option<(f32, f32)> {
        match self {
            Surface::BrushedMetal
            | Surface::CastMetal
            | Surface::RolledSteel
            | Surface::GroundMetal
            | Surface::FerritePlate
            | Surface::GalvanizedSheet
            | Surface::PerforatedSheet
            | Surface::MachinedPart
            | Surface::WireMesh
            | Surface::SolarCell
            | Surface::Asphalt => Some((0.6, 0.12)),
            Surface::Concrete | Surface::Granite | Surface::Marble | Surface::Gravel => {
                Some((0.1, 0.2))
            }
            Surface::Wood | Surface::Cork | Surface::Leather => Some((0.08, 0.65)),
            Surface::Brick => Some((0.03, 0.6)),
            Surface::Grass => Some((0.27, 0.6)),
            Surface::CircuitBoard => Some((0.38, 0.7)),
            Surface::Paper => Some((0.11, 0.25)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_own() {
        let names = Surface::ALL.map(Surface::as_str);
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        }
    }
}
