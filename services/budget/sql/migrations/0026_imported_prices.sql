-- Whether a price came with an import of a list: what an operator set by hand is left alone by later imports.
ALTER TABLE prices ADD COLUMN imported boolean NOT NULL DEFAULT false;
