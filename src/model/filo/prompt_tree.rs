//! All prompts of a category as one tree of tokens. In: token ids of each prompt. Out: the nodes,
//! which tokens they are, what they may see. Pure indices: no tensor is made here.
//!
//! FiLo's prompts share almost everything: 142 prompts of 77 tokens for "bottle" are one start
//! token, two learned contexts, 20 states and nine positions behind each abnormal one.

use std::collections::HashMap;

/// Which learned context a prompt starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PromptKind {
    Normal,
    Abnormal,
}

/// The tree. Nodes 0, 1 … are: the start token, the context of the normal prompts, the context of
/// the abnormal ones, then every other token, each after its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTree {
    n_ctx: usize,
    /// Token ids of the nodes after the contexts.
    token_ids: Vec<u32>,
    /// Parent of each node; the root is its own.
    parents: Vec<usize>,
    depths: Vec<usize>,
    normal_ends: Vec<usize>,
    abnormal_ends: Vec<usize>,
}

impl PromptTree {
    /// Builds the tree from prompts as the tokenizer gives them: start token, `n_ctx` placeholders,
    /// the words, end token.
    ///
    /// # Panics
    /// If a prompt is not longer than the start token and the placeholders: the tokenizer puts an
    /// end token behind them and the configuration is validated to leave room for it.
    pub fn new(n_ctx: usize, normal: &[Vec<u32>], abnormal: &[Vec<u32>]) -> Self {
        let mut tree = PromptTree {
            n_ctx,
            token_ids: Vec::new(),
            parents: vec![0],
            depths: vec![0],
            normal_ends: Vec::with_capacity(normal.len()),
            abnormal_ends: Vec::with_capacity(abnormal.len()),
        };
        let normal_context = tree.push_context();
        let abnormal_context = tree.push_context();
        let mut children = HashMap::new();
        for prompt in normal {
            let end = tree.insert(normal_context, &prompt[1 + n_ctx..], &mut children);
            tree.normal_ends.push(end);
        }
        for prompt in abnormal {
            let end = tree.insert(abnormal_context, &prompt[1 + n_ctx..], &mut children);
            tree.abnormal_ends.push(end);
        }
        tree
    }

    /// Adds `n_ctx` nodes in a row below the start token; returns the last.
    fn push_context(&mut self) -> usize {
        (0..self.n_ctx).fold(0, |parent, _| self.push(parent))
    }

    fn push(&mut self, parent: usize) -> usize {
        self.parents.push(parent);
        self.depths.push(self.depths[parent] + 1);
        self.parents.len() - 1
    }

    fn insert(
        &mut self,
        context: usize,
        words: &[u32],
        children: &mut HashMap<(usize, u32), usize>,
    ) -> usize {
        words.iter().fold(context, |parent, &id| {
            *children.entry((parent, id)).or_insert_with(|| {
                self.token_ids.push(id);
                self.push(parent)
            })
        })
    }

    /// Nodes in the tree.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// A tree always holds the start token.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Token ids of the nodes after the start token and the contexts, in node order.
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// Position of each node in its prompts; the start token is at 0.
    pub fn depths(&self) -> &[usize] {
        &self.depths
    }

    /// End nodes: the normal prompts in the order given, then the abnormal ones.
    pub fn ends(&self) -> impl Iterator<Item = usize> {
        self.normal_ends.iter().chain(&self.abnormal_ends).copied()
    }

    /// Number of normal and of abnormal prompts.
    pub fn prompts(&self, kind: PromptKind) -> usize {
        match kind {
            PromptKind::Normal => self.normal_ends.len(),
            PromptKind::Abnormal => self.abnormal_ends.len(),
        }
    }

    /// Row-major `[nodes, nodes]`: true where a node (row) must not see another (column), which is
    /// every node but itself and its ancestors.
    pub fn hidden(&self) -> Vec<bool> {
        let nodes = self.len();
        let mut hidden = vec![true; nodes * nodes];
        for node in 0..nodes {
            // Parents come first, so the parent's row is finished: see what it sees, and itself.
            let parent = self.parents[node];
            hidden.copy_within(parent * nodes..(parent + 1) * nodes, node * nodes);
            hidden[node * nodes + node] = false;
        }
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_beginnings_stand_once_and_see_only_their_ancestors() {
        // start 9, one placeholder 8; words; end 7.
        let normal = [vec![9, 8, 1, 7]];
        let abnormal = [vec![9, 8, 1, 2, 7], vec![9, 8, 1, 3, 7]];
        let tree = PromptTree::new(1, &normal, &abnormal);
        // start, two contexts, normal 1 7, abnormal 1 2 7 3 7
        assert_eq!(tree.len(), 10);
        assert_eq!(tree.token_ids(), [1, 7, 1, 2, 7, 3, 7]);
        assert_eq!(tree.depths(), [0, 1, 1, 2, 3, 2, 3, 4, 3, 4]);
        assert_eq!(tree.ends().collect::<Vec<_>>(), [4, 7, 9]);
        let hidden = tree.hidden();
        let seen =
            |node: usize| (0..10).filter(|&other| !hidden[node * 10 + other]).collect::<Vec<_>>();
        assert_eq!(seen(0), [0]);
        assert_eq!(seen(4), [0, 1, 3, 4]);
        assert_eq!(seen(9), [0, 2, 5, 8, 9]);
    }
}
