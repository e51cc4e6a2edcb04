//! The kinds of defects, their folder names, and the words that prompts use for them.

macro_rules! defects {
    ($($kind:ident $name:literal $details:expr,)*) => {
        /// What is wrong with a surface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Defect { $($kind,)* }

        impl Defect {
            pub const ALL: [Defect; [$($name),*].len()] = [$(Defect::$kind),*];

            /// The kind's folder.
            pub fn as_str(self) -> &'static str {
                match self { $(Defect::$kind => $name,)* }
            }

            /// Phrasings of a prompt: "… on the surface".
            pub fn details(self) -> &'static [&'static str] {
                match self { $(Defect::$kind => &$details,)* }
            }
        }
    };
}

defects! {
    Scratch "scratch" [
        "scratch", "scratch on the surface", "scratched surface", "thin line scratch",
        "linear scratch mark",
    ],
    Crack "crack" [
        "crack", "crack on the surface", "cracked surface", "deep crack",
        "branching crack line",
    ],
    Cut "cut" ["cut", "cut in the surface", "slit", "deep cut"],
    Abrasion "abrasion" [
        "abrasion", "scuffed surface", "worn area", "many fine scratches", "rubbed spot",
    ],
    Thread "thread" ["loose thread", "hair on the surface", "fiber on the surface", "stray thread"],
    Wrinkle "wrinkle" ["wrinkle", "fold in the surface", "crease", "folded area"],
    Hole "hole" ["hole", "hole in the surface", "blowhole", "punched hole", "round cavity"],
    Pore "pore" ["pores", "porosity", "pinholes", "small pits", "pitted surface"],
    Dent "dent" ["dent", "dent on the surface", "dented area", "indentation"],
    Bump "bump" ["bump", "bulge on the surface", "blister", "raised spot", "bubble"],
    Contamination "contamination" [
        "contamination", "dirt particles", "dust on the surface", "specks", "impurity",
    ],
    ForeignMaterial "foreign_material" [
        "foreign material", "foreign object", "patch of another material", "inclusion",
    ],
    Stain "stain" ["stain", "stain on the surface", "dark stain", "dirty spot", "liquid stain"],
    Discoloration "discoloration" [
        "discoloration", "discolored area", "color change", "faded area", "uneven color",
    ],
    Burn "burn" ["burn mark", "burnt area", "scorched spot", "hot spot"],
    Corrosion "corrosion" ["corrosion", "rust", "rusty area", "oxidized spot"],
    DarkArea "dark_area" ["dark area", "inactive area", "dark region", "dead area"],
    UnevenTexture "uneven_texture" [
        "uneven texture", "uneven grinding", "irregular surface", "rough patch",
        "inconsistent texture",
    ],
    Peeling "peeling" [
        "peeling", "peeled coating", "flaking surface", "missing coating", "delamination",
    ],
    Smear "smear" ["smear", "smudge", "residue", "glue residue", "oil smear"],
    MissingPart "missing_part" [
        "missing part", "missing element", "absent component", "incomplete pattern",
    ],
    Misplaced "misplaced" [
        "misplaced part", "shifted element", "misaligned part", "wrong position",
    ],
    Break "break" ["break", "broken edge", "broken off corner", "fracture", "broken piece"],
    Chip "chip" ["chip", "chipped edge", "chipped surface", "small piece missing"],
    Fray "fray" ["fray", "frayed edge", "frayed fibers", "rough worn spot", "fuzzy area"],
    Deformation "deformation" ["deformation", "bent area", "distorted pattern", "warped surface"],
    Misprint "misprint" [
        "misprint", "printing error", "smeared print", "incomplete print", "double print",
    ],
    BrokenThread "broken_thread" [
        "broken thread", "missing thread", "pulled thread", "gap in the weave",
    ],
}

impl Defect {
    /// Whether it is something wrong with regular elements, that only some surfaces have.
    pub fn is_structural(self) -> bool {
        matches!(
            self,
            Defect::MissingPart
                | Defect::Misplaced
                | Defect::Misprint
                | Defect::BrokenThread
                | Defect::Deformation
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defect_has_two_to_six_short_details() {
        for defect in Defect::ALL {
            assert!((2..=6).contains(&defect.details().len()), "{defect:?}");
            for detail in defect.details() {
                assert!(detail.split(' ').count() <= 6, "{detail}");
                assert_eq!(*detail, detail.to_lowercase());
            }
        }
    }
}
