"""From Clean records and the code set to packed training blocks.

Design. Per row, on any number of workers (`prepare.Prepare`, a Stage that distributed runs as a Ray Data job):

    phrases | conditions | documents -> pairs (phrase, context, code)      examples.py; candidates and terms are injected
                                     -> examples with their split          split.py: a keyed hash, so no worker needs another
                                     -> tokens and a MinHash signature     templates.py, duplicates.py      = table `drafts`

Once, on the driver or for each key (`prepare.finish`, Arrow in and out):

    drafts -> duplicates across splits removed -> blocks by first-fit decreasing      = tables `examples` and `blocks`
                                               -> right and nearest wrong answer      = table `preferences`
                                               -> phrase, title, wrong candidates     = table `pairs` (also of pairs that retrieval missed)
    note_drafts -> duplicates removed          -> note and its billed codes           = table `notes`

What does not become an example is in the table `dropped` with its reason and split; nothing goes without being counted.

Who is kept apart: all notes of one patient share a split; phrases of the code set are split by three-character category; an
example of a train patient whose code lies in a category that is measured is dropped. A duplicate keeps its copy in the set that
measures (test before validation before train). Only Clean tables are taken: `prepare.check_clean` refuses a schema that marks PHI.
"""
